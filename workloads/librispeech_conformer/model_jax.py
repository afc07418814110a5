"""The Conformer in JAX; `model_pytorch.py` defines the same function.

Dropout, in training, is where the runs that set the targets had it: after the positions
are added, after attention, and after each feed-forward layer.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

from .._speech.modules_jax import (
    XAVIER,
    Activation,
    LayerNorm,
    MaskedBatchNorm,
    SpeechModel,
    example_batch,
    forward,
    masked,
)
from .definition import ModelConfig
from .positions import sinusoids

__all__ = ["build", "example_batch", "forward"]

_ACTIVATIONS: Mapping[str, Activation] = {
    "swish": nn.silu,
    "gelu": functools.partial(nn.gelu, approximate=True),
}
_Dense = functools.partial(layers.Dense, kernel_init=XAVIER)


class FeedForward(nn.Module):
    """Half of it is added to its input."""

    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, rate: Any) -> jax.Array:
        """x: [batch, frames, width]; mask: [batch, frames]; rate: dropout's."""
        y = LayerNorm(name="norm")(x)
        y = _Dense(self.config.mlp_dim, name="expand")(y)
        y = masked(_ACTIVATIONS[self.config.activation](y), mask)
        y = masked(_Dense(self.config.embed_dim, name="contract")(y), mask)
        return layers.stored(x + 0.5 * layers.Dropout()(y, rate, train=self.train))


class Attention(nn.Module):
    """Self-attention whose queries have a learnt factor for each dimension of a head."""

    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, rate: Any) -> jax.Array:
        """As `FeedForward`."""
        config = self.config
        y = LayerNorm(name="norm")(x)
        heads = config.num_heads, config.embed_dim // config.num_heads
        query = layers.attention_projection(
            heads, ParameterType.ATTENTION_Q, name="query"
        )(y)
        key = layers.attention_projection(heads, ParameterType.ATTENTION_K, name="key")(
            y
        )
        value = layers.attention_projection(
            heads, ParameterType.ATTENTION_V, name="value"
        )(y)
        gain = self.param(
            "query_gain",
            layers.typed(nn.initializers.zeros_init(), ParameterType.WEIGHT),
            heads[1:],
        )
        # Softplus is ln 2 at 0: the factor is 1 at first.
        query *= (nn.softplus(gain) / math.log(2)).astype(query.dtype)
        # Where nothing is valid, all keys are: their mean is masked later, NaN is not.
        is_key = (mask > 0) | (mask.max(axis=1, keepdims=True) == 0)
        y = jax.nn.dot_product_attention(
            query, key, value, mask=is_key[:, None, None, :]
        )
        output = layers.attention_projection(
            config.embed_dim, ParameterType.ATTENTION_OUT, axis=(-2, -1), name="output"
        )
        y = output(config.attention_temperature * y)
        return layers.stored(x + layers.Dropout()(y, rate, train=self.train))


class DepthwiseConvolution(nn.Module):
    """Each feature on its own, over the `kernel` nearest frames; without bias."""

    kernel: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [batch, frames, features]; same shape out."""
        _, frames, features = x.shape
        kernel = self.param(
            "kernel",
            layers.typed(XAVIER, ParameterType.CONV_WEIGHT),
            (self.kernel, 1, features),
        ).astype(x.dtype)
        before = (self.kernel - 1) // 2
        x = jnp.pad(x, ((0, 0), (before, self.kernel - 1 - before), (0, 0)))
        # XLA has no fast grouped convolution on a CPU; this one fuses anywhere.
        x = sum(x[:, i : i + frames] * kernel[i] for i in range(self.kernel))
        return x


class Convolution(nn.Module):
    """A gated linear unit, then a depthwise convolution over frames."""

    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """As `FeedForward`."""
        config = self.config
        y = LayerNorm(name="norm")(x)
        gate = nn.sigmoid(_Dense(config.embed_dim, name="gate")(y))
        y = masked(_Dense(config.embed_dim, name="value")(y) * gate, mask)
        y = DepthwiseConvolution(config.kernel_size, name="depthwise")(y)
        norm = MaskedBatchNorm(
            config.batch_norm_momentum, self.train, name="batch_norm"
        )
        y = norm(y, mask)
        y = _ACTIVATIONS[config.activation](y)
        return layers.stored(x + _Dense(config.embed_dim, name="output")(y))


class Block(nn.Module):
    """One block of the encoder."""

    config: ModelConfig
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, rate: Any) -> jax.Array:
        """As `FeedForward`."""
        parts = self.config, self.train
        x = FeedForward(*parts, name="feed_forward_0")(x, mask, rate)
        x = Attention(*parts, name="attention")(x, mask, rate)
        x = Convolution(*parts, name="convolution")(x, mask)
        x = FeedForward(*parts, name="feed_forward_1")(x, mask, rate)
        return LayerNorm(name="norm")(x) if self.config.has_block_norm else x


class Conformer(SpeechModel):
    """Positions, blocks and a last layer norm between front end and logits."""

    def encoded(
        self, x: jax.Array, mask: jax.Array, rate: Any, train: bool
    ) -> jax.Array:
        """See `SpeechModel`."""
        x += jnp.asarray(sinusoids(*x.shape[1:]), x.dtype)
        x = layers.Dropout()(x, rate, train=train)
        for i in range(self.config.num_layers):
            x = Block(self.config, train, name=f"block_{i}")(x, mask, rate)
        return LayerNorm(name="norm")(x)


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return Conformer(config)
