"""The U-Net in JAX; `model_pytorch.py` defines the same function."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

from .definition import ModelConfig

_EPSILON = 1e-5  # of instance normalisation
# Of a standard normal variable that is cut off at -2 and 2.
_TRUNCATED_STDDEV = 0.87962566103423978
_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "tanh": jnp.tanh,
}


def instance_norm(x: jax.Array) -> jax.Array:
    """Each channel of each example with mean 0 and variance 1: [batch, h, w, channels].

    Statistics are float32, and the variance that of the deviations: the mean of squares
    less the square of the mean, as published, cancels where the mean is large.
    """
    wide = layers.at_least_float32(x)
    deviation = wide - jnp.mean(wide, axis=(1, 2), keepdims=True)
    variance = jnp.mean(jnp.square(deviation), axis=(1, 2), keepdims=True)
    return (deviation * jax.lax.rsqrt(variance + _EPSILON)).astype(x.dtype)


class ConvBlock(nn.Module):
    """Twice: convolution, normalisation, activation, dropout of whole channels."""

    channels: int
    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, rate: Any) -> jax.Array:
        """x: [batch, h, w, in]; rate: dropout's."""
        for i in range(2):
            x = layers.Conv(self.channels, (3, 3), use_bias=False, name=f"conv_{i}")(x)
            if self.config.norm == "layer":
                x = layers.LayerNorm(
                    reduction_axes=(1, 2, 3), feature_axes=-1, name=f"norm_{i}"
                )(x)
            else:
                x = instance_norm(x)
            x = _ACTIVATIONS[self.config.activation](x)
            x = layers.Dropout(broadcast_dims=(1, 2))(x, rate, train=self.train)
        return x


class Upsampling(nn.Module):
    """Transposed convolution that doubles the sides, normalisation, activation.

    Its windows of 2 x 2 with stride 2 do not overlap, so it is one matrix product.
    """

    channels: int
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [batch, h, w, in] -> [batch, 2h, 2w, channels]."""
        batch, height, width, in_channels = x.shape
        init = layers.typed(nn.initializers.lecun_normal(), ParameterType.CONV_WEIGHT)
        shape = (2, 2, in_channels, self.channels)
        kernel = self.param("kernel", init, shape)
        dtype = layers.compute_dtype() or jnp.result_type(x, kernel)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        x = jnp.einsum("bhwi,klio->bhkwlo", x, kernel)
        x = x.reshape(batch, 2 * height, 2 * width, self.channels)
        return _ACTIVATIONS[self.activation](instance_norm(x))


class UNet(nn.Module):
    """Blocks with poolings between them, and back with what was kept on the way."""

    config: ModelConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool, dropout_rate: Any) -> Any:
        """inputs: float32 [batch, height, width] -> the same shape."""
        config, kept = self.config, []
        widths = [
            config.num_channels * 2**level for level in range(config.num_poolings + 1)
        ]
        x = inputs[..., None]
        for level, width in enumerate(widths[:-1]):
            x = ConvBlock(width, config, train, name=f"down_{level}")(x, dropout_rate)
            kept.append(x)
            x = nn.pool(x, 0.0, jax.lax.add, (2, 2), (2, 2), "VALID") / 4
        x = ConvBlock(widths[-1], config, train, name="bottleneck")(x, dropout_rate)
        for level in reversed(range(config.num_poolings)):
            x = Upsampling(
                widths[level], config.activation, name=f"upsampling_{level}"
            )(x)
            x = _padded_like(x, kept[level])
            x = jnp.concatenate([x, kept[level]], axis=-1)
            x = ConvBlock(widths[level], config, train, name=f"up_{level}")(
                x, dropout_rate
            )
        return layers.Conv(1, (1, 1), name="output", is_output=True)(x)[..., 0]


def _padded_like(x: jax.Array, kept: jax.Array) -> jax.Array:
    """Pooling drops the last row or column of an odd side: it is reflected back."""
    missing = [big - small for big, small in zip(kept.shape, x.shape, strict=True)][1:3]
    return jnp.pad(x, [(0, 0), (0, missing[0]), (0, missing[1]), (0, 0)], "reflect")


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return UNet(config)


def example_batch(config: ModelConfig) -> dict[str, Any]:
    """A batch of the smallest images that can be pooled; any size has these parameters."""
    side = 2**config.num_poolings
    return {"inputs": np.zeros((1, side, side), np.float32)}


def init_variables(
    module: nn.Module, rngs: Mapping[str, jax.Array], batch: Mapping[str, Any]
) -> Any:
    """Initial values: those of the layers, but with all kernels from one random draw.

    On a CPU, JAX needs a second to compile each draw: twenty kernels, twenty seconds.
    """

    def initialise(rngs: dict[str, jax.Array]) -> Any:
        return module.init(rngs, batch["inputs"], train=False, dropout_rate=0.0)

    boxed = jax.eval_shape(initialise, dict(rngs))
    entries, structure = jax.tree_util.tree_flatten_with_path(boxed)
    total = sum(math.prod(leaf.shape) for _, leaf in entries)
    drawn = jax.random.truncated_normal(rngs["params"], -2, 2, (total,))
    values, start = [], 0
    for path, leaf in entries:
        size = math.prod(leaf.shape)
        part = drawn[start : start + size].reshape(leaf.shape)
        values.append(_initial_value(jax.tree_util.keystr(path), part))
        start += size
    return jax.tree_util.tree_unflatten(structure, values)


def _initial_value(name: str, drawn: jax.Array) -> jax.Array:
    """LeCun normal kernels, biases of 0, scales of 1.

    drawn: standard normal values, cut off at -2 and 2, in the parameter's shape.
    """
    if "kernel" in name:
        fan_in = math.prod(drawn.shape[:-1])
        return drawn / (math.sqrt(fan_in) * _TRUNCATED_STDDEV)
    return jnp.ones_like(drawn) if "scale" in name else jnp.zeros_like(drawn)
