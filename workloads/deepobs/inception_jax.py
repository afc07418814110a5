"""Inception-v3 in JAX; `inception_pytorch.py` defines the same function."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf.jax_backend import layers
from algoperf.jax_backend.batch_norm import BatchNorm

from . import inception
from .architectures import GLOROT_UNIFORM
from .inception import Branches, InceptionConfig, Step, Unit, Window
from .kernels_jax import initializer, squared

_INIT = initializer(GLOROT_UNIFORM)


class Normalised(nn.Module):
    """A convolution, batch norm and ReLU."""

    unit: Unit

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x: [batch, h, w, in]; [batch, ..., features]."""
        unit = self.unit
        conv = layers.Conv(
            unit.features,
            unit.size,
            strides=(unit.stride, unit.stride),
            padding=unit.padding,
            use_bias=False,
            kernel_init=_INIT,
            name="conv",
        )
        norm = BatchNorm(
            momentum=inception.BATCH_NORM_MOMENTUM,
            epsilon=inception.BATCH_NORM_EPSILON,
            name="norm",
        )
        return nn.relu(norm(conv(x), train=train))


class Steps(nn.Module):
    """Steps one after the other."""

    steps: Sequence[Step]

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x: [batch, h, w, in]; [batch, ..., features]."""
        for index, step in enumerate(self.steps):
            name = f"step_{index}"
            match step:
                case Unit():
                    x = Normalised(step, name=name)(x, train=train)
                case Window():
                    x = _window(x, step)
                case Branches(branches):
                    parts = [
                        Steps(branch, name=f"{name}_branch_{number}")(x, train=train)
                        for number, branch in enumerate(branches)
                    ]
                    x = jnp.concatenate(parts, axis=-1)
        return x


def _window(x: jax.Array, window: Window) -> jax.Array:
    size, strides = (window.size,) * 2, (window.stride,) * 2
    result: jax.Array
    if window.kind == "max":
        result = nn.max_pool(x, size, strides, window.padding)
    else:
        padding = window.padding
        result = nn.avg_pool(x, size, strides, padding, count_include_pad=False)
    return result


class Inception(nn.Module):
    """Images -> logits of their classes."""

    config: InceptionConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool, dropout_rate: Any) -> Any:
        """inputs: [batch, h, w, 3]; logits [batch, classes], in training of both heads."""
        side, classes = self.config.image_size, self.config.num_classes
        shape = (len(inputs), side, side, inputs.shape[-1])
        x = jax.image.resize(inputs, shape, "bilinear", antialias=False)
        x = Steps(inception.body(), name="body")(x, train=train)
        second = None
        if train or self.is_initializing():
            second = Steps(inception.AUXILIARY_HEAD, name="auxiliary")(x, train=train)
            second = _output(classes, "auxiliary_output")(second.mean(axis=(1, 2)))
        x = Steps(inception.tail(), name="tail")(x, train=train).mean(axis=(1, 2))
        x = layers.Dropout()(x, dropout_rate, train=train)
        logits = _output(classes, "output")(x)
        return (logits, second) if train else logits


def _output(classes: int, name: str) -> nn.Dense:
    return layers.Dense(classes, kernel_init=_INIT, is_output=True, name=name)


def build(config: InceptionConfig) -> nn.Module:
    """The module."""
    return Inception(config)


def example_batch(config: InceptionConfig) -> dict[str, np.ndarray]:
    """A batch of one."""
    side = config.input_size
    images = np.zeros((1, side, side, 3), np.float32)
    return {"inputs": images, "targets": np.zeros(1, np.int32)}


def parameter_loss(params: Any, config: InceptionConfig) -> jax.Array | None:
    """Half the sum of squares of the kernels, times `l2`."""
    return squared(params, config.l2)
