"""A vision transformer in JAX; `model_pytorch.py` defines the same function."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

from .definition import ModelConfig
from .positions import sin_cos_positions

_XAVIER = nn.initializers.xavier_uniform()
_ZEROS = nn.initializers.zeros_init()
_TINY = nn.initializers.normal(1e-6)


class Attention(nn.Module):
    """Multi-head attention, without dropout of its probabilities."""

    num_heads: int

    @nn.compact
    def __call__(self, queries: jax.Array, memory: jax.Array) -> jax.Array:
        """queries: [batch, n, width], memory: [batch, m, width]; [batch, n, width]."""
        width = queries.shape[-1]
        heads = self.num_heads, width // self.num_heads
        q = layers.attention_projection(heads, ParameterType.ATTENTION_Q, name="query")(
            queries
        )
        k = layers.attention_projection(heads, ParameterType.ATTENTION_K, name="key")(
            memory
        )
        v = layers.attention_projection(heads, ParameterType.ATTENTION_V, name="value")(
            memory
        )
        x = jax.nn.dot_product_attention(q, k, v)  # [batch, n, heads, head width]
        out = layers.attention_projection(
            width, ParameterType.ATTENTION_OUT, axis=(-2, -1), name="out"
        )
        return out(x)


class MLP(nn.Module):
    """Dense -> GELU -> dense; the hidden layer optionally gated by itself."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        """x: [batch, tokens, width]; same shape out."""
        config = self.config
        hidden = nn.gelu(_dense(config.mlp_dim, name="hidden")(x))
        if config.is_gated:
            hidden = hidden * _dense(config.mlp_dim, name="gate")(hidden)
        hidden = layers.Dropout()(hidden, dropout_rate, train=train)
        return _dense(config.embed_dim, name="output")(hidden)


def _dense(features: int, *, name: str) -> nn.Dense:
    return layers.Dense(features, kernel_init=_XAVIER, bias_init=_TINY, name=name)


class Block(nn.Module):
    """Self-attention, then the MLP, each around a shortcut."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        """x: [batch, tokens, width]; same shape out."""
        dropout = {"rate": dropout_rate, "train": train}
        attention = Attention(self.config.num_heads, name="attention")
        attention_norm = layers.LayerNorm(name="attention_norm")
        mlp = MLP(self.config, name="mlp")
        mlp_norm = layers.LayerNorm(name="mlp_norm")

        def attended(x: jax.Array) -> jax.Array:
            return layers.Dropout()(attention(x, x), **dropout)

        def transformed(x: jax.Array) -> jax.Array:
            y = mlp(x, train=train, dropout_rate=dropout_rate)
            return layers.Dropout()(y, **dropout)

        if self.config.norm_position == "post":
            x = attention_norm(layers.stored(x + attended(x)))
            x = mlp_norm(layers.stored(x + transformed(x)))
            return x
        x = layers.stored(x + attended(attention_norm(x)))
        return layers.stored(x + transformed(mlp_norm(x)))


class AttentionPooling(nn.Module):
    """A learned probe attends to all tokens; as published, there is no dropout."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [batch, tokens, width]; [batch, width]."""
        batch, _, width = x.shape
        init = layers.typed(_XAVIER, ParameterType.WEIGHT)
        probe = self.param("probe", init, (1, 1, width))
        probes = jnp.broadcast_to(probe, (batch, 1, width))
        x = Attention(self.config.num_heads, name="attention")(probes, x)
        mlp = MLP(self.config, name="mlp")
        y = mlp(layers.LayerNorm(name="norm")(x), train=False, dropout_rate=0.0)
        return (x + y)[:, 0]


class VisionTransformer(nn.Module):
    """Images -> logits of their classes."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, inputs: jax.Array, *, train: bool, dropout_rate: Any
    ) -> jax.Array:
        """inputs: [batch, h, w, 3]; logits: [batch, classes]."""
        config, call = self.config, {"train": train, "dropout_rate": dropout_rate}
        size = (config.patch_size, config.patch_size)
        patches = layers.Conv(
            config.embed_dim, size, strides=size, padding="VALID", name="patches"
        )
        x = patches(inputs)  # [batch, rows, columns, width]
        batch, rows, columns, width = x.shape
        x = x.reshape(batch, rows * columns, width)
        x = x + sin_cos_positions(rows, columns, width)
        x = layers.Dropout()(x, dropout_rate, train=train)
        for number in range(config.num_layers):
            x = Block(config, name=f"block_{number}")(x, **call)
        if config.norm_position == "pre":
            x = layers.LayerNorm(name="final_norm")(x)
        if config.pooling == "attention":
            x = AttentionPooling(config, name="pooling")(x)
        else:
            x = x.mean(axis=1, dtype=np.promote_types(x.dtype, np.float32))
        x = nn.tanh(layers.Dense(width, name="pre_logits")(x))  # [batch, width]
        output = layers.Dense(
            config.num_classes, kernel_init=_ZEROS, is_output=True, name="output"
        )
        return output(x)


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return VisionTransformer(config)


def example_batch(config: ModelConfig) -> dict[str, np.ndarray]:
    """A batch of one, with the shapes and dtypes of `data.open_batches`."""
    return {
        "inputs": np.zeros((1, config.image_size, config.image_size, 3), np.float32),
        "targets": np.zeros((1,), np.int32),
    }
