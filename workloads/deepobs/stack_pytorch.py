"""Networks of layers one after the other, in PyTorch; `stack_jax.py` defines the same."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from algoperf.pytorch_backend import initializers, layers

from . import architectures as arch
from .kernels_pytorch import initializer, squared
from .planes_pytorch import max_pool, resize

Step = Callable[[Tensor], Tensor]


class Stack(nn.Module):
    """The layers of a config."""

    def __init__(self, config: arch.StackConfig) -> None:
        super().__init__()
        self._steps: list[Step | str] = []  # functions, and names of parts
        shape = config.input_shape
        for index, layer in enumerate(config.stack):
            part, shape = _part(layer, shape)
            if isinstance(part, nn.Module):
                self.add_module(f"layer_{index}", part)
                self._steps.append(f"layer_{index}")
            else:
                self._steps.append(part)
            if isinstance(layer, arch.Conv):
                self._steps.append(functional.relu)
            if isinstance(layer, arch.Dense) and not layer.is_last:
                self._steps.append(functional.relu)

    def forward(self, inputs: Tensor) -> Tensor:
        """inputs: [batch, height, width, channels]; logits: [batch, classes]."""
        x = inputs.permute(0, 3, 1, 2)  # a view: the memory stays channels-last
        for step in self._steps:
            x = self.get_submodule(step)(x) if isinstance(step, str) else step(x)
        return x


class Flat(layers.Linear):
    """A dense layer over all axes but the first, in the order height, width, channels."""

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, channels, height, width] or [batch, features]."""
        if x.ndim == 4:
            x = x.permute(0, 2, 3, 1)
        return super().forward(x.flatten(1))


def _part(
    layer: arch.Layer, shape: tuple[int, ...]
) -> tuple[nn.Module | Step, tuple[int, ...]]:
    """The layer on examples of that shape (height, width, channels), and its result's."""
    match layer:
        case arch.Conv():
            sides = tuple(_positions(layer, side) for side in shape[:2])
            return _conv(layer, shape[-1]), (*sides, layer.features)
        case arch.Dense():
            inputs = 1
            for size in shape:
                inputs *= size
            return _dense(layer, inputs), (layer.features,)
        case arch.Pool(size, stride):
            sides = tuple(-(-side // stride) for side in shape[:2])
            return lambda x: max_pool(x, size, stride), (*sides, shape[-1])
        case arch.Dropout(share):
            return layers.Dropout(share=share), shape
        case arch.MeanOverSpace():
            return lambda x: x.mean(dim=(2, 3)), shape[-1:]
        case arch.Resize(side):
            return lambda x: resize(x, side), (side, side, shape[-1])


def _positions(layer: arch.Conv, side: int) -> int:
    covered = side if layer.padding == "SAME" else side - layer.size + 1
    return -(-covered // layer.stride)


def _conv(layer: arch.Conv, in_channels: int) -> layers.Conv2d:
    return layers.Conv2d(
        in_channels,
        layer.features,
        layer.size,
        stride=layer.stride,
        padding=layer.padding,
        weight_init=initializer(layer.kernel),
        bias_init=initializers.constant(layer.bias),
    )


def _dense(layer: arch.Dense, in_features: int) -> Flat:
    return Flat(
        in_features,
        layer.features,
        weight_init=initializer(layer.kernel),
        bias_init=initializers.constant(layer.bias),
        is_output=layer.is_last,
    )


def build(config: arch.StackConfig) -> nn.Module:
    """The module."""
    return Stack(config)


def parameter_loss(module: nn.Module, config: arch.StackConfig) -> Tensor | None:
    """Half the sum of squares of the kernels, times `l2`."""
    return squared(module, config.l2, on_dense=config.has_l2_on_dense)
