"""What PyTorch computes of the losses in one piece; `algoperf.losses` has the rest."""

import functools
from collections.abc import Callable
from typing import Any

import array_api_compat.torch as array_namespace
import torch
from torch import Tensor
from torch.nn import functional

from algoperf import losses as shared
from algoperf.deferred_logits import DeferredLogits
from algoperf.pytorch_backend import output_layer


class TorchKernels(shared.Kernels):
    """`algoperf.losses.Kernels` of PyTorch."""

    __slots__ = ()

    @property
    def xp(self) -> Any:
        """See `Kernels`."""
        return array_namespace

    def as_array(self, x: Any) -> Tensor:
        """See `Kernels`."""
        return torch.as_tensor(x)

    def softmax(self, logits: Any) -> Tensor:
        """See `Kernels`."""
        return torch.softmax(logits, dim=-1)

    def sigmoid(self, logits: Any) -> Tensor:
        """See `Kernels`."""
        return torch.sigmoid(logits)

    def cross_entropy_of_classes(self, logits: Any, labels: Any, smoothing: Any) -> Any:
        """See `Kernels`."""
        losses = functional.cross_entropy(
            logits.flatten(0, -2),
            labels.flatten().long(),
            reduction="none",
            label_smoothing=float(smoothing),
        )
        return losses.reshape(labels.shape)

    def cross_entropy_of_distributions(self, logits: Any, labels: Any) -> Any:
        """See `Kernels`."""
        return -(labels * torch.log_softmax(logits, dim=-1)).sum(dim=-1)

    def binary_cross_entropy(self, logits: Any, labels: Any) -> Any:
        """See `Kernels`."""
        return functional.binary_cross_entropy_with_logits(
            logits, labels, reduction="none"
        )

    def ctc(self, scores: Any, is_frame: Any, targets: Any, is_token: Any) -> Any:
        """See `Kernels`."""
        return functional.ctc_loss(
            torch.log_softmax(scores, dim=-1).transpose(0, 1),
            targets.long(),
            # The kernel wants a frame.
            is_frame.sum(dim=-1).clamp(min=1),
            is_token.sum(dim=-1),
            reduction="none",
            zero_infinity=True,
        )

    def by_parts(
        self, logits: DeferredLogits, loss: Callable[..., Any], *others: Any
    ) -> Any:
        """See `Kernels`."""
        return output_layer.by_parts(logits, loss, *others)


_KERNELS = TorchKernels()
# See the functions of the same names in `algoperf.losses`.
loss = functools.partial(shared.loss, _KERNELS)
of_examples = functools.partial(shared.of_examples, _KERNELS)
output_activation = functools.partial(shared.output_activation, _KERNELS)
