"""Networks of layers one after the other, in JAX; `stack_pytorch.py` defines the same."""

from typing import Any

import jax
import numpy as np
from flax import linen as nn

from algoperf.jax_backend import layers

from . import architectures as arch
from .kernels_jax import initializer, squared


class Stack(nn.Module):
    """The layers of a config."""

    config: arch.StackConfig

    @nn.compact
    def __call__(
        self, inputs: jax.Array, *, train: bool, dropout_rate: Any
    ) -> jax.Array:
        """inputs: [batch, height, width, channels]; logits: [batch, classes]."""
        x = inputs
        for index, layer in enumerate(self.config.stack):
            name = f"layer_{index}"
            match layer:
                case arch.Conv():
                    x = nn.relu(_conv(layer, name)(x))
                case arch.Dense():
                    x = _dense(layer, name)(x.reshape(len(x), -1))
                    x = x if layer.is_last else nn.relu(x)
                case arch.Pool(size, stride):
                    x = nn.max_pool(x, (size, size), (stride, stride), "SAME")
                case arch.Dropout(share):
                    x = layers.Dropout()(x, share * dropout_rate, train=train)
                case arch.MeanOverSpace():
                    x = x.mean(axis=(1, 2))
                case arch.Resize(side):
                    shape = (len(x), side, side, x.shape[-1])
                    x = jax.image.resize(x, shape, "bilinear", antialias=False)
        return x


def _conv(layer: arch.Conv, name: str) -> nn.Conv:
    return layers.Conv(
        layer.features,
        (layer.size, layer.size),
        strides=(layer.stride, layer.stride),
        padding=layer.padding,
        kernel_init=initializer(layer.kernel),
        bias_init=nn.initializers.constant(layer.bias),
        name=name,
    )


def _dense(layer: arch.Dense, name: str) -> nn.Dense:
    return layers.Dense(
        layer.features,
        kernel_init=initializer(layer.kernel),
        bias_init=nn.initializers.constant(layer.bias),
        is_output=layer.is_last,
        name=name,
    )


def build(config: arch.StackConfig) -> nn.Module:
    """The module."""
    return Stack(config)


def example_batch(config: arch.StackConfig) -> dict[str, np.ndarray]:
    """A batch of one."""
    return {
        "inputs": np.zeros((1, *config.input_shape), np.float32),
        "targets": np.zeros(1, np.int32),
    }


def parameter_loss(params: Any, config: arch.StackConfig) -> jax.Array | None:
    """Half the sum of squares of the kernels, times `l2`."""
    return squared(params, config.l2, on_dense=config.has_l2_on_dense)
