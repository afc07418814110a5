"""Wide residual networks in JAX; `wide_resnet_pytorch.py` defines the same function."""

from typing import Any

import jax
import numpy as np
from flax import linen as nn

from algoperf.jax_backend import layers
from algoperf.jax_backend.batch_norm import BatchNorm

from .architectures import GLOROT_UNIFORM, WideResnetConfig
from .kernels_jax import initializer, squared

_INIT = initializer(GLOROT_UNIFORM)


class Block(nn.Module):
    """Batch norm, ReLU and convolution, twice, beside the identity or a convolution."""

    features: int
    stride: int
    is_first: bool  # of its group

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x: [batch, h, w, in]; [batch, h / stride, w / stride, features]."""
        h = nn.relu(BatchNorm(name="norm_1")(x, train=train))
        shortcut = x
        if self.is_first:
            shortcut = _conv(self.features, 1, self.stride, name="shortcut")(h)
        h = _conv(self.features, 3, self.stride, name="conv_1")(h)
        h = nn.relu(BatchNorm(name="norm_2")(h, train=train))
        h = _conv(self.features, 3, name="conv_2")(h)
        return shortcut + h


class WideResnet(nn.Module):
    """Images -> logits of their classes."""

    config: WideResnetConfig

    @nn.compact
    def __call__(
        self, inputs: jax.Array, *, train: bool, dropout_rate: Any
    ) -> jax.Array:
        """inputs: [batch, h, w, 3]; logits: [batch, classes]. There is no dropout."""
        x = _conv(16, 3, name="stem")(inputs)
        for group, (features, stride) in enumerate(self.config.groups):
            for block in range(self.config.blocks_per_group):
                is_first = block == 0
                name = f"group_{group}_block_{block}"
                layer = Block(features, stride if is_first else 1, is_first, name=name)
                x = layer(x, train=train)
        x = nn.relu(BatchNorm(name="norm")(x, train=train)).mean(axis=(1, 2))
        output = layers.Dense(
            self.config.num_classes, kernel_init=_INIT, is_output=True, name="output"
        )
        return output(x)


def _conv(features: int, size: int, stride: int = 1, *, name: str) -> nn.Conv:
    return layers.Conv(
        features,
        (size, size),
        strides=(stride, stride),
        use_bias=False,
        kernel_init=_INIT,
        name=name,
    )


def build(config: WideResnetConfig) -> nn.Module:
    """The module."""
    return WideResnet(config)


def example_batch(config: WideResnetConfig) -> dict[str, np.ndarray]:
    """A batch of one."""
    return {
        "inputs": np.zeros((1, 32, 32, 3), np.float32),
        "targets": np.zeros(1, np.int32),
    }


def parameter_loss(params: Any, config: WideResnetConfig) -> jax.Array | None:
    """Half the sum of squares of the kernels, times `l2`."""
    return squared(params, config.l2)
