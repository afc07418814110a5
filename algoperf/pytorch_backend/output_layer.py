"""The output layer of language models in PyTorch: logits, at once or deferred."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from algoperf.deferred_logits import DeferredLogits


def logits(hidden: Tensor, table: Tensor) -> Any:
    """hidden [batch, length, width] times table [classes, width], float32 or wider.

    [batch, length, classes]: a tensor, or `DeferredLogits` where it would be large.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    deferred = TorchDeferredLogits(hidden, table)
    return deferred.compute() if deferred.num_parts == 1 else deferred


class TorchDeferredLogits(DeferredLogits):
    """Becomes a tensor in every function of PyTorch."""

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        named = {name: _computed(value) for name, value in (kwargs or {}).items()}
        return function(*map(_computed, args), **named)

    @property
    def dtype(self) -> torch.dtype:
        """Of the logits."""
        return torch.promote_types(self.hidden.dtype, torch.float32)

    @property
    def device(self) -> torch.device:
        """Of the logits."""
        device: torch.device = self.hidden.device
        return device

    def compute(self) -> Tensor:
        """See `DeferredLogits.compute`."""
        return _product(self.hidden, self.table)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.compute().detach().cpu().numpy(), dtype)


def _computed(value: object) -> object:
    if isinstance(value, DeferredLogits):
        return value.compute()
    if isinstance(value, list | tuple) and type(value) in (list, tuple):
        return type(value)(map(_computed, value))
    return value


def _product(hidden: Tensor, table: Tensor) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        product = functional.linear(hidden, table.to(hidden.dtype))
    return product.to(torch.promote_types(product.dtype, torch.float32))


def by_parts(
    logits: DeferredLogits, loss: Callable[..., Tensor], *others: Tensor
) -> Tensor:
    """`loss(logits, *others)` [batch, length], with one part of the logits at a time.

    others: [batch, length]. A gradient computes each part once more.
    """

    def of_part(hidden: Tensor, table: Tensor, *rest: Tensor) -> Tensor:
        return loss(_product(hidden, table), *rest)

    size = logits.shape[1] // logits.num_parts
    parts = zip(*(x.split(size, dim=1) for x in (logits.hidden, *others)), strict=True)
    losses = [
        checkpoint(
            of_part,
            hidden,
            logits.table,
            *rest,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for hidden, *rest in parts
    ]
    return torch.cat(losses, dim=1)
