"""A model file as a workload would have it: a two-layer perceptron with BatchNorm."""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from algoperf.definition import WorkloadDefinition
from algoperf.jax_backend import layers
from algoperf.spec import ParameterType
from tests import tiny_workload
from tests.tiny_workload import batch as batch

typed = layers.typed


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the model."""

    features: int = 4
    width: int = 8
    classes: int = 3
    batch_norm: bool = True


class TinyNet(nn.Module):
    """Dense, BatchNorm, ReLU, dropout, Dense."""

    config: Config

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        """x: [batch, features] -> logits [batch, classes]."""
        x = layers.Dense(self.config.width)(x)
        if self.config.batch_norm:
            x = nn.BatchNorm(
                use_running_average=not train,
                scale_init=typed(nn.initializers.ones, ParameterType.BATCH_NORM_SCALE),
                bias_init=typed(nn.initializers.zeros, ParameterType.BATCH_NORM_BIAS),
            )(x)
        x = layers.Dropout()(nn.relu(x), dropout_rate, train=train)
        return layers.Dense(self.config.classes, is_output=True, name="head")(x)


def build(config: Config) -> TinyNet:
    """See `algoperf.jax_backend.model`."""
    return TinyNet(config)


def example_batch(config: Config) -> dict[str, np.ndarray]:
    """See `algoperf.jax_backend.model`."""
    return {
        "inputs": np.zeros((1, config.features), np.float32),
        "targets": np.zeros(1, np.int32),
    }


class Metrics:
    """A metrics module."""

    outputs = staticmethod(tiny_workload.outputs)


def definition(config: Config | None = None) -> WorkloadDefinition:
    """A definition around the model."""
    return tiny_workload.definition(config or Config())
