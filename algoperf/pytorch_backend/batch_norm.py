"""Batch norm over virtual batches of the global batch, whatever the processes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, distributed, nn
from torch.distributed import _functional_collectives as collectives

from algoperf.pytorch_backend.initializers import Initializer, constant
from algoperf.pytorch_backend.layers import RunningStatistics, typed
from algoperf.spec import ParameterType


class BatchNorm(RunningStatistics):
    """(x - mean) / sqrt(variance + eps) * (scale_offset + weight) + bias.

    In training, statistics are those of the example's virtual batch: the global batch
    in the fewest consecutive parts, as equal as can be, of at most `virtual_batch_size`
    examples (the paper's ghost batch norm); None: the global batch. Variances are
    biased. Running statistics move by 1 - momentum towards the mean over the virtual
    batches of all processes. All statistics are float32.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.9,
        eps: float = 1e-5,
        virtual_batch_size: int | None = None,
        scale_init: Initializer | None = None,
        scale_offset: float = 0.0,
        feature_axis: int = 1,
    ) -> None:
        super().__init__()
        self.momentum, self.eps, self.scale_offset = momentum, eps, scale_offset
        self.virtual_batch_size, self.feature_axis = virtual_batch_size, feature_axis
        self.weight = typed(
            nn.Parameter(torch.empty(features)), ParameterType.BATCH_NORM_SCALE
        )
        self.bias = typed(
            nn.Parameter(torch.empty(features)), ParameterType.BATCH_NORM_BIAS
        )
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self._scale_init = scale_init or constant(1.0)

    def reset_parameters(self, generator: Generator) -> None:
        """See the conventions of `layers`."""
        features = len(self.weight)
        self._scale_init(self.weight, generator, features, features)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x: [batch, ...] with `features` along `feature_axis`; same shape out.

        mask: x without the feature axis, 1 where x counts in the statistics, 0 where it
        is padding (which is normalised all the same).
        """
        scale = self.scale_offset + self.weight
        if not self.training:
            mean, var = self.running_mean, self.running_var
            return self._normalised(x, mean[None], var[None], scale)
        size = _local_size(x.shape[0], self.virtual_batch_size)
        if mask is None and size:
            return self._locally(x, scale, size)
        parts = _VirtualBatches(x.shape[0], self.virtual_batch_size, x.device)
        axis = self.feature_axis % x.ndim
        wide = x.movedim(axis, -1)
        mean, var = parts.statistics(wide.float(), mask)
        self._update(mean.mean(0), var.mean(0))
        return self._normalised(
            x, parts.per_example(mean), parts.per_example(var), scale
        )

    def _normalised(
        self, x: Tensor, mean: Tensor, var: Tensor, scale: Tensor
    ) -> Tensor:
        """mean, var: [batch or 1, features]."""
        shape = [1] * x.ndim
        shape[0], shape[self.feature_axis] = -1, x.shape[self.feature_axis]
        factor = torch.rsqrt(var + self.eps) * scale
        bias_shape = [1, *shape[1:]]
        centred = x.float() - mean.reshape(shape)
        y = centred * factor.reshape(shape) + self.bias.reshape(bias_shape)
        return y.to(x.dtype)

    def _locally(self, x: Tensor, scale: Tensor, size: int) -> Tensor:
        """PyTorch's fused kernel on each virtual batch: none spans two processes."""
        moved = x if self.feature_axis == 1 else x.movedim(self.feature_axis, 1)
        outputs, means, variances = [], [], []
        for part in moved.split(size):
            y, mean, inverse = torch.native_batch_norm(
                part, scale, self.bias, None, None, True, 0.0, self.eps
            )
            outputs.append(y)
            means.append(mean.detach().float())
            variances.append((inverse.detach().float() ** -2 - self.eps).clamp(min=0))
        self._update(torch.stack(means).mean(0), torch.stack(variances).mean(0), True)
        y = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return y if self.feature_axis == 1 else y.movedim(1, self.feature_axis)

    @torch.no_grad()
    def _update(self, mean: Tensor, var: Tensor, is_local: bool = False) -> None:
        if not self.update_running_statistics:
            return
        world_size = _world_size()
        if is_local and world_size > 1:
            both = _summed(torch.stack([mean, var])) / world_size
            mean, var = both.unbind()
        self.running_mean.lerp_(mean.detach(), 1 - self.momentum)
        self.running_var.lerp_(var.detach(), 1 - self.momentum)


def _number_of_parts(batch_size: int, largest: int | None) -> int:
    return 1 if largest is None else -(-batch_size // largest)


def _local_size(local_batch: int, largest: int | None) -> int:
    """Of each part, where all are equal and none spans two processes; else 0."""
    batch_size = local_batch * _world_size()
    number = _number_of_parts(batch_size, largest)
    size = batch_size // number
    return size if size * number == batch_size and local_batch % size == 0 else 0


class _VirtualBatches:
    """The parts of the global batch, as a one-hot matrix [local batch, parts]."""

    def __init__(
        self, local_batch: int, largest: int | None, device: torch.device
    ) -> None:
        batch_size = local_batch * _world_size()
        number = _number_of_parts(batch_size, largest)
        self._members: Tensor | None = None  # where there is but one part
        if number > 1:
            first = _rank() * local_batch
            examples = torch.arange(first, first + local_batch, device=device)
            part = examples * number // batch_size
            # float64 is exact enough anywhere; float32 products may be done in TF32.
            self._members = nn.functional.one_hot(part, number).double()

    def statistics(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and biased variance, [parts, features] each; x: [batch, ..., features]."""
        weights = torch.ones_like(x[..., :1]) if mask is None else mask[..., None]
        weights = weights.float()
        count = self._summed(_over_space(weights)).clamp(min=1)
        mean = self._summed(_over_space(x * weights)) / count
        centre = self.per_example(mean)
        centre = centre.reshape(len(centre), *(1,) * (x.ndim - 2), -1)
        deviation = (x - centre).square() * weights
        return mean, self._summed(_over_space(deviation)) / count

    def per_example(self, statistics: Tensor) -> Tensor:
        """[parts, features] -> [batch or 1, features]."""
        if self._members is None:
            return statistics
        return (self._members @ statistics.double()).float()

    def _summed(self, x: Tensor) -> Tensor:
        """[batch, features] -> sums over each part of all processes, [parts, features]."""
        if self._members is None:
            return _summed(x.sum(0, keepdim=True))
        return _summed((self._members.T @ x.double()).float())


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce whose gradient is one too: what each process adds counts for all."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return _all_reduced(x)

    @staticmethod
    def backward(ctx: object, *gradients: Any) -> Tensor:
        (gradient,) = gradients
        return _all_reduced(gradient)


def _all_reduced(x: Tensor) -> Tensor:
    group = distributed.group.WORLD
    assert group is not None
    x = collectives.all_reduce(x.contiguous(), "sum", group)
    return x


def _summed(x: Tensor) -> Tensor:
    over_processes: Callable[[Tensor], Tensor] = _SumOverProcesses.apply
    return x if _world_size() == 1 else over_processes(x)


def _over_space(x: Tensor) -> Tensor:
    """Sums over all axes but the first and the last."""
    return x.sum(tuple(range(1, x.ndim - 1))) if x.ndim > 2 else x


def _world_size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0
