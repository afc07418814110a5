"""The multi-layer perceptron in JAX; `model_pytorch.py` defines the same function."""

from typing import Any

import jax
import numpy as np
from flax import linen as nn

from algoperf.jax_backend import layers

from .definition import ModelConfig


class Perceptron(nn.Module):
    """Pixels -> hidden units, sigmoid -> logits."""

    config: ModelConfig

    @nn.compact
    def __call__(
        self, inputs: jax.Array, *, train: bool, dropout_rate: Any
    ) -> jax.Array:
        """inputs: [batch, 28, 28, 1]; logits: [batch, classes]. There is no dropout."""
        x = inputs.reshape(inputs.shape[0], -1)  # [batch, pixels]
        x = nn.sigmoid(layers.Dense(self.config.hidden_dim, name="hidden")(x))
        return layers.Dense(self.config.num_classes, name="output", is_output=True)(x)


def build(config: ModelConfig) -> nn.Module:
    """The module."""
    return Perceptron(config)


def example_batch(config: ModelConfig) -> dict[str, np.ndarray]:
    """A batch of one, with the shapes and dtypes of `data.open_batches`."""
    return {
        "inputs": np.zeros((1, 28, 28, 1), np.float32),
        "targets": np.zeros((1,), np.int32),
    }
