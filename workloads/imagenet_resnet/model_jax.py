"""ResNet-50 in JAX; `model_pytorch.py` defines the same function."""

from typing import Any

import jax
import numpy as np
from flax import linen as nn

from algoperf.jax_backend import layers
from algoperf.jax_backend.batch_norm import BatchNorm

from .definition import EXPANSION, ModelConfig

_ACTIVATIONS = {"relu": nn.relu, "silu": nn.silu, "gelu": nn.gelu}
_HEAD_INIT = nn.initializers.normal(0.01)
_ONES = nn.initializers.ones_init()


class Block(nn.Module):
    """1x1 -> 3x3 -> 1x1 convolutions, each with batch norm, around a shortcut."""

    config: ModelConfig
    width: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x: [batch, h, w, in]; [batch, h / stride, w / stride, 4 width]."""
        config, stride, features = self.config, self.stride, self.width * EXPANSION
        activation = _ACTIVATIONS[config.activation]
        y = _conv(self.width, 1, name="conv_1")(x)
        y = activation(_norm(config, name="norm_1")(y, train=train))
        y = _conv(self.width, 3, stride, name="conv_2")(y)
        y = activation(_norm(config, name="norm_2")(y, train=train))
        y = _conv(features, 1, name="conv_3")(y)
        last_scale = nn.initializers.constant(config.last_scale_init)
        y = _norm(config, scale_init=last_scale, name="norm_3")(y, train=train)
        if stride != 1 or x.shape[-1] != features:
            x = _conv(features, 1, stride, name="shortcut_conv")(x)
            x = _norm(config, name="shortcut_norm")(x, train=train)
        return activation(x + y)


class ResNet(nn.Module):
    """Images -> logits of their classes."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, inputs: jax.Array, *, train: bool, dropout_rate: Any
    ) -> jax.Array:
        """inputs: [batch, h, w, 3]; logits: [batch, classes]. There is no dropout."""
        config = self.config
        stem = _conv(
            config.num_channels, 7, 2, padding=[(3, 3), (3, 3)], name="stem_conv"
        )
        x = _norm(config, name="stem_norm")(stem(inputs), train=train)
        x = _ACTIVATIONS[config.activation](x)  # [batch, h / 2, w / 2, width]
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, num_blocks in enumerate(config.stage_sizes):
            for block in range(num_blocks):
                stride = 2 if stage and not block else 1
                name = f"stage_{stage}_block_{block}"
                layer = Block(config, config.num_channels * 2**stage, stride, name=name)
                x = layer(x, train=train)
        x = x.mean(axis=(1, 2), dtype=np.promote_types(x.dtype, np.float32))
        output = layers.Dense(
            config.num_classes, kernel_init=_HEAD_INIT, is_output=True, name="output"
        )
        return output(x)


def _conv(
    features: int, size: int, stride: int = 1, *, padding: Any = "SAME", name: str
) -> nn.Conv:
    window, strides = (size, size), (stride, stride)
    return layers.Conv(
        features, window, strides=strides, padding=padding, use_bias=False, name=name
    )


def _norm(
    config: ModelConfig, *, scale_init: layers.Initializer = _ONES, name: str
) -> BatchNorm:
    return BatchNorm(
        virtual_batch_size=config.virtual_batch_size, scale_init=scale_init, name=name
    )


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return ResNet(config)


def example_batch(config: ModelConfig) -> dict[str, np.ndarray]:
    """A batch of one, with the shapes and dtypes of `data.open_batches`."""
    return {
        "inputs": np.zeros((1, config.image_size, config.image_size, 3), np.float32),
        "targets": np.zeros((1,), np.int32),
    }
