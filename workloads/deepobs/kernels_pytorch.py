"""Initial values of kernels, and the term of the loss that they are in, in PyTorch."""

import torch
from torch import Tensor, nn

from algoperf.pytorch_backend import initializers

from .architectures import Draw

_DRAWS = {
    "glorot_uniform": initializers.xavier_uniform(),
    "glorot_normal": initializers.variance_scaling(1.0, "fan_avg", "truncated_normal"),
    "zeros": initializers.constant(0.0),
}
_KERNEL_DIMS = (
    2,
    4,
)  # of dense layers and of convolutions; scales of batch norm have 1


def initializer(draw: Draw) -> initializers.Initializer:
    """The initializer of that distribution."""
    if draw.kind == "truncated_normal":
        return initializers.truncated_normal(draw.stddev)
    return _DRAWS[draw.kind]


def squared(module: nn.Module, l2: float, *, on_dense: bool = True) -> Tensor | None:
    """Half of `l2` times the sum of squares of all kernels; None where `l2` is 0."""
    if not l2:
        return None
    wanted = _KERNEL_DIMS if on_dense else _KERNEL_DIMS[1:]
    kernels = [
        parameter
        for name, parameter in module.named_parameters()
        if name.endswith("weight") and parameter.ndim in wanted
    ]
    return 0.5 * l2 * torch.stack([(kernel**2).sum() for kernel in kernels]).sum()
