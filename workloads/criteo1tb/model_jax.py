"""DLRM-small in JAX; `model_pytorch.py` defines the same function."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf.datasets.criteo1tb.reader import NUM_CATEGORIES, NUM_INPUTS, NUM_INTEGERS
from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

from .definition import ModelConfig

_GLOROT_NORMAL = nn.initializers.variance_scaling(1.0, "fan_avg", "normal")


class Table(nn.Module):
    """The embedding table: one parameter; only the rows that are needed are read."""

    config: ModelConfig

    @nn.compact
    def __call__(self, rows: jax.Array) -> jax.Array:
        """rows: int32 [batch, 26]; [batch, 26, embedding_dim]."""
        num_rows, dim = self.config.vocab_size, self.config.embed_dim
        scale = self.config.embed_init_scale or 1 / math.sqrt(num_rows)
        init = layers.typed(nn.initializers.uniform(scale), ParameterType.EMBEDDING)
        table = self.param("embedding", init, (num_rows, dim))
        # Rows are reduced modulo the table's size: none is out of bounds.
        embeddings: jax.Array = table.at[rows].get(mode="promise_in_bounds")
        # The rows, not the table, are brought to the compute dtype.
        return embeddings.astype(layers.compute_dtype() or embeddings.dtype)


class MLP(nn.Module):
    """Dense layers with ReLU after each, and what the variants add."""

    widths: tuple[int, ...]
    kernel_init: layers.Initializer
    config: ModelConfig
    has_dropout: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        """x: [batch, features]; [batch, widths[-1]]. Dropout after the last ReLU."""
        for number, width in enumerate(self.widths):
            layer = _dense(width, self.kernel_init, name=f"layer_{number}")
            y = nn.relu(layer(x))
            if self.config.has_layer_norm:
                y = layers.LayerNorm(name=f"norm_{number}")(y)
            if self.has_dropout and number == len(self.widths) - 1:
                y = layers.Dropout()(y, dropout_rate, train=train)
            x = x + y if self.config.is_residual and number else y
        return x


class DLRM(nn.Module):
    """Integers and categories -> the logit of a click."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, inputs: jax.Array, *, train: bool, dropout_rate: Any
    ) -> jax.Array:
        """inputs: float32 [batch, 39], see data.py; logits: [batch]."""
        config, call = self.config, {"train": train, "dropout_rate": dropout_rate}
        integers = inputs[:, :NUM_INTEGERS]
        buckets = inputs[:, NUM_INTEGERS:].astype(jnp.int32)
        glorot_uniform = nn.initializers.glorot_uniform()
        bottom = MLP(config.bottom_dims, glorot_uniform, config, name="bottom")
        x = bottom(integers, **call)  # [batch, bottom[-1]]
        embeddings = Table(config, name="embedding")(buckets % config.vocab_size)
        if config.has_layer_norm:
            embeddings = layers.LayerNorm(name="embedding_norm")(embeddings)
        if config.interaction == "dot":
            crossed = _dot_products(x, embeddings)
        else:
            crossed = embeddings.reshape(len(embeddings), -1)
        x = jnp.concatenate([x, crossed], axis=1)
        top = MLP(config.top_dims, _GLOROT_NORMAL, config, has_dropout=True, name="top")
        output = _dense(1, _GLOROT_NORMAL, name="output", is_output=True)
        return output(top(x, **call))[:, 0]


def _dense(
    width: int, kernel_init: layers.Initializer, *, name: str, is_output: bool = False
) -> nn.Dense:
    """A layer whose biases start normal with variance 1 / width: 1 for the output's."""
    return layers.Dense(
        width,
        kernel_init=kernel_init,
        bias_init=nn.initializers.normal(math.sqrt(1 / width)),
        is_output=is_output,
        name=name,
    )


def _dot_products(x: jax.Array, embeddings: jax.Array) -> jax.Array:
    """Products of all pairs and squares, the upper triangle row by row: [batch, 378].

    x: [batch, dim], embeddings: [batch, 26, dim].
    """
    vectors = jnp.concatenate([x[:, None], embeddings], axis=1)  # [batch, 27, dim]
    products = layers.gram(vectors)
    number = NUM_CATEGORIES + 1
    pairs = np.ravel_multi_index(np.triu_indices(number), (number, number))
    return (
        products.reshape(-1, number * number)
        .at[:, pairs]
        .get(mode="promise_in_bounds", unique_indices=True, indices_are_sorted=True)
    )


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return DLRM(config)


def example_batch(config: ModelConfig) -> dict[str, np.ndarray]:
    """A batch of one, with the shapes and dtypes of `data.open_batches`."""
    return {
        "inputs": np.zeros((1, NUM_INPUTS), np.float32),
        "targets": np.zeros(1, np.float32),
    }
