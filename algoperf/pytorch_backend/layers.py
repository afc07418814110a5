"""Layers whose parameters know their `ParameterType`, with the benchmark's defaults.

Conventions for modules of a `model_pytorch.py`, which these layers follow:

- Types: `typed(parameter, type)` where a parameter is made. They are read once, when
  the model is bound to its workload.
- Initial values: `reset_parameters(generator)` fills a module's parameters, drawing from
  nothing else. The backend calls it on every module that has one, children before
  parents: a parent may fill or overwrite what belongs to its children. A parameter that
  nobody fills is an error. Constants are buffers, made by the constructor.
- Dropout: `Dropout()`; it knows the rate and rng of the step.
- Running statistics: batch-norm layers are `RunningStatistics` and update their buffers
  in training only if `self.update_running_statistics`. PyTorch's own are handled too.

Defaults, from the published benchmark: kernels LeCun normal (truncated at two standard
deviations), biases 0, LayerNorm epsilon 1e-6, convolutions padded "SAME" as in JAX.
"""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend.dropout import Dropout, dropout
from algoperf.pytorch_backend.initializers import Initializer, constant, lecun_normal
from algoperf.pytorch_backend.initializers import variance_scaling as _variance_scaling
from algoperf.spec import ParameterType

__all__ = [
    "Conv2d",
    "Dropout",
    "Embedding",
    "LayerNorm",
    "Linear",
    "RunningStatistics",
    "dropout",
    "is_output",
    "parameter_type",
    "same_padding",
    "typed",
]


def typed(
    parameter: nn.Parameter, type: ParameterType, *, is_output: bool = False
) -> nn.Parameter:
    """The same parameter, marked with its type and whether it is an output's."""
    parameter.algoperf_type = type  # type: ignore[attr-defined]
    parameter.algoperf_is_output = is_output  # type: ignore[attr-defined]
    return parameter


def parameter_type(parameter: nn.Parameter) -> ParameterType | None:
    """What `typed` said; None for a parameter that it never saw."""
    return getattr(parameter, "algoperf_type", None)


def is_output(parameter: nn.Parameter) -> bool:
    """Whether `typed` said that the parameter belongs to the output layer."""
    return getattr(parameter, "algoperf_is_output", False)


class RunningStatistics(nn.Module):
    """Base of layers with running statistics of the batches.

    `update_running_statistics` holds for one forward pass: it is what the submission
    passed as `update_batch_norm`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.update_running_statistics = True


class Linear(nn.Module):
    """[..., in_features] -> [..., out_features]; `weight` [out, in], `bias` [out]."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        weight_type: ParameterType = ParameterType.WEIGHT,
        bias_type: ParameterType = ParameterType.BIAS,
        is_output: bool = False,
    ) -> None:
        super().__init__()
        weight = nn.Parameter(torch.empty(out_features, in_features))
        self.weight = typed(weight, weight_type, is_output=is_output)
        self.bias: nn.Parameter | None = None
        if bias:
            parameter = nn.Parameter(torch.empty(out_features))
            self.bias = typed(parameter, bias_type, is_output=is_output)
        self._weight_init = weight_init or lecun_normal()
        self._bias_init = bias_init or constant(0.0)

    def reset_parameters(self, generator: Generator) -> None:
        """See the module's conventions."""
        out_features, in_features = self.weight.shape
        self._weight_init(self.weight, generator, in_features, out_features)
        if self.bias is not None:
            self._bias_init(self.bias, generator, in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., in_features]."""
        return functional.linear(x, self.weight, self.bias)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> list[int]:
    """JAX's "SAME" rule: [before, after] that make ceil(size / stride) positions."""
    positions = -(-size // stride)
    total = max((positions - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return [total // 2, total - total // 2]


class Conv2d(nn.Module):
    """[batch, in, h, w] -> [batch, out, ...]; `weight` [out, in / groups, *kernel].

    padding: "SAME" (JAX's rule, more after than before where it must differ), "VALID",
    or zeros on both sides of (height, width).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: str | tuple[int, int] = "SAME",
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        weight_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        is_output: bool = False,
    ) -> None:
        super().__init__()
        shape = (out_channels, in_channels // groups, *_pair(kernel_size))
        weight = nn.Parameter(torch.empty(shape))
        self.weight = typed(weight, ParameterType.CONV_WEIGHT, is_output=is_output)
        self.bias: nn.Parameter | None = None
        if bias:
            parameter = nn.Parameter(torch.empty(out_channels))
            self.bias = typed(parameter, ParameterType.BIAS, is_output=is_output)
        self.stride, self.dilation = _pair(stride), _pair(dilation)
        self.padding, self.groups = padding, groups
        self._weight_init = weight_init or lecun_normal()
        self._bias_init = bias_init or constant(0.0)

    def reset_parameters(self, generator: Generator) -> None:
        """See the module's conventions; fans count the kernel's positions."""
        out_channels, in_channels, *kernel = self.weight.shape
        positions = math.prod(kernel)
        # As in Flax, fan_out is not divided by the groups.
        fans = in_channels * positions, out_channels * positions
        self._weight_init(self.weight, generator, *fans)
        if self.bias is not None:
            self._bias_init(self.bias, generator, *fans)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, in_channels, height, width]."""
        x, padding = self._pad(x)
        stride, dilation = self.stride, self.dilation
        return functional.conv2d(
            x, self.weight, self.bias, stride, padding, dilation, self.groups
        )

    def _pad(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The input, and the symmetric padding that is left to the convolution."""
        if self.padding == "VALID":
            return x, (0, 0)
        if not isinstance(self.padding, str):
            return x, self.padding
        spatial = zip(
            x.shape[2:], self.weight.shape[2:], self.stride, self.dilation, strict=True
        )
        rows, columns = (same_padding(*numbers) for numbers in spatial)
        if rows[0] == rows[1] and columns[0] == columns[1]:
            return x, (rows[0], columns[0])
        return functional.pad(x, [*columns, *rows]), (0, 0)


class LayerNorm(nn.Module):
    """Normalises the last axis or axes; statistics in float32 also under bf16."""

    def __init__(
        self,
        shape: int | Sequence[int],
        *,
        eps: float = 1e-6,
        scale: bool = True,
        bias: bool = True,
        scale_init: Initializer | None = None,
    ) -> None:
        super().__init__()
        self.shape = [shape] if isinstance(shape, int) else list(shape)
        self.eps = eps
        self.weight: nn.Parameter | None = None
        self.bias: nn.Parameter | None = None
        if scale:
            parameter = nn.Parameter(torch.empty(self.shape))
            self.weight = typed(parameter, ParameterType.LAYER_NORM_SCALE)
        if bias:
            parameter = nn.Parameter(torch.empty(self.shape))
            self.bias = typed(parameter, ParameterType.LAYER_NORM_BIAS)
        self._scale_init = scale_init or constant(1.0)

    def reset_parameters(self, generator: Generator) -> None:
        """See the module's conventions."""
        size = math.prod(self.shape)
        if self.weight is not None:
            self._scale_init(self.weight, generator, size, size)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., *shape]."""
        return functional.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


class Embedding(nn.Module):
    """int [...] -> [..., features]; `weight` [num_embeddings, features].

    Drawn, as in Flax, from a normal distribution of variance 1 / features.
    """

    def __init__(
        self,
        num_embeddings: int,
        features: int,
        *,
        weight_init: Initializer | None = None,
        is_output: bool = False,
    ) -> None:
        super().__init__()
        weight = nn.Parameter(torch.empty(num_embeddings, features))
        self.weight = typed(weight, ParameterType.EMBEDDING, is_output=is_output)
        default = _variance_scaling(1.0, "fan_out", "normal")
        self._weight_init = weight_init or default

    def reset_parameters(self, generator: Generator) -> None:
        """See the module's conventions."""
        num_embeddings, features = self.weight.shape
        self._weight_init(self.weight, generator, num_embeddings, features)

    def forward(self, indices: Tensor) -> Tensor:
        """indices: int [...], in 0..num_embeddings."""
        return functional.embedding(indices, self.weight)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
