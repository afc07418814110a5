"""The U-Net in PyTorch; `model_jax.py` defines the same function."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend import layers, weights
from algoperf.pytorch_backend.initializers import lecun_normal
from algoperf.spec import ParameterType

from .definition import ModelConfig

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.2),
    "tanh": torch.tanh,
}


class InstanceNorm(nn.Module):
    """Each channel of each example with mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, channels, h, w]."""
        return functional.group_norm(x, x.shape[1], eps=1e-5)


class ExampleNorm(nn.Module):
    """Normalises an example over all axes; a scale and a bias for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = layers.typed(
            nn.Parameter(torch.empty(channels)), ParameterType.LAYER_NORM_SCALE
        )
        self.bias = layers.typed(
            nn.Parameter(torch.empty(channels)), ParameterType.LAYER_NORM_BIAS
        )

    def reset_parameters(self, generator: Generator) -> None:
        """See the conventions of `layers`."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, channels, h, w]."""
        return functional.group_norm(x, 1, self.weight, self.bias, eps=1e-6)


class ConvBlock(nn.Module):
    """Twice: convolution, normalisation, activation, dropout of whole channels."""

    def __init__(self, in_channels: int, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.activation]
        for i, width in enumerate((in_channels, channels)):
            conv = layers.Conv2d(width, channels, 3, bias=False)
            self.add_module(f"conv_{i}", conv)
            is_layer = config.norm == "layer"
            norm = ExampleNorm(channels) if is_layer else InstanceNorm()
            self.add_module(f"norm_{i}", norm)
            self.add_module(f"dropout_{i}", layers.Dropout(broadcast_dims=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, in, h, w]."""
        for i in range(2):
            x = self.get_submodule(f"norm_{i}")(self.get_submodule(f"conv_{i}")(x))
            x = self.get_submodule(f"dropout_{i}")(self.activation(x))
        return x


class Upsampling(nn.Module):
    """Transposed convolution that doubles the sides, normalisation, activation."""

    def __init__(self, in_channels: int, channels: int, config: ModelConfig) -> None:
        super().__init__()
        weight = nn.Parameter(torch.empty(in_channels, channels, 2, 2))
        self.weight = layers.typed(weight, ParameterType.CONV_WEIGHT)
        self.norm = InstanceNorm()
        self.activation = _ACTIVATIONS[config.activation]

    def reset_parameters(self, generator: Generator) -> None:
        """As in JAX; PyTorch's own fan-in would count output channels."""
        in_channels, channels, height, width = self.weight.shape
        fans = in_channels * height * width, channels * height * width
        lecun_normal()(self.weight, generator, *fans)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, in, h, w] -> [batch, channels, 2h, 2w]."""
        x = functional.conv_transpose2d(x, self.weight, stride=2)
        return self.activation(self.norm(x))


class UNet(nn.Module):
    """Blocks with poolings between them, and back with what was kept on the way."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.depth = config.num_poolings
        widths = [
            config.num_channels * 2**level for level in range(config.num_poolings + 1)
        ]
        before = 1
        for level, width in enumerate(widths[:-1]):
            self.add_module(f"down_{level}", ConvBlock(before, width, config))
            before = width
        self.bottleneck = ConvBlock(before, widths[-1], config)
        for level in reversed(range(config.num_poolings)):
            upsampling = Upsampling(widths[level + 1], widths[level], config)
            self.add_module(f"upsampling_{level}", upsampling)
            block = ConvBlock(2 * widths[level], widths[level], config)
            self.add_module(f"up_{level}", block)
        self.output = layers.Conv2d(widths[0], 1, 1, is_output=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: float32 [batch, height, width] -> the same shape."""
        x, kept = inputs[:, None], []
        for level in range(self.depth):
            x = self.get_submodule(f"down_{level}")(x)
            kept.append(x)
            x = functional.avg_pool2d(x, 2)
        x = self.bottleneck(x)
        for level in reversed(range(self.depth)):
            x = _padded_like(self.get_submodule(f"upsampling_{level}")(x), kept[level])
            x = torch.cat([x, kept[level]], dim=1)
            x = self.get_submodule(f"up_{level}")(x)
        image: Tensor = self.output(x)[:, 0]
        return image


def _padded_like(x: Tensor, kept: Tensor) -> Tensor:
    """Pooling drops the last row or column of an odd side: it is reflected back."""
    rows, columns = kept.shape[2] - x.shape[2], kept.shape[3] - x.shape[3]
    if not rows and not columns:
        return x
    return functional.pad(x, (0, columns, 0, rows), mode="reflect")


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return UNet(config)


def weights_from_jax(
    config: ModelConfig, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """See `weights.from_jax`; transposed convolutions are [in, out, *window] here."""
    return {
        name: array.swapaxes(0, 1)
        if name.startswith("upsampling") and array.ndim == 4
        else array
        for name, array in weights.from_jax(arrays).items()
    }
