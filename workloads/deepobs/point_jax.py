"""A point in a landscape, in JAX; `point_pytorch.py` defines the same function."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from algoperf.jax_backend import layers
from algoperf.spec import ParameterType

from . import landscapes
from .architectures import PointConfig
from .landscape_values import example_values


class Point(nn.Module):
    """The parameters are the point; what it returns for each example is its loss."""

    config: PointConfig

    @nn.compact
    def __call__(
        self, inputs: jax.Array, *, train: bool, dropout_rate: Any
    ) -> jax.Array:
        """inputs: [batch, dimensions]; [batch]."""
        start = landscapes.start(self.config.landscape)
        init = layers.typed(
            lambda *_: jnp.asarray(start), ParameterType.WEIGHT, is_output=True
        )
        point = self.param("point", init, start.shape)
        values: jax.Array = example_values(jnp, self.config.landscape, point, inputs)
        return values


def build(config: PointConfig) -> nn.Module:
    """The module."""
    return Point(config)


def example_batch(config: PointConfig) -> dict[str, np.ndarray]:
    """A batch of one."""
    size = len(landscapes.start(config.landscape))
    targets = np.zeros(1, np.float32)
    return {"inputs": np.zeros((1, size), np.float32), "targets": targets}
