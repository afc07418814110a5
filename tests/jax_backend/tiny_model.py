"""A model file as a workload would have it: a two-layer perceptron with BatchNorm."""

import dataclasses
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from algoperf.definition import Limits, Splits, Target, WorkloadDefinition
from algoperf.jax_backend import layers
from algoperf.spec import LossType, ParameterType

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
    """A metrics module: per-example loss and correctness."""

    @staticmethod
    def outputs(xp: Any, logits: Any, batch: Any, per_example: Any) -> dict[str, Any]:
        """Arrays of the global batch, on the device."""
        correct = xp.argmax(logits, axis=-1) == batch["targets"]
        return {"loss": per_example, "correct": correct}


def definition(config: Config | None = None) -> WorkloadDefinition:
    """A definition around the model."""
    return WorkloadDefinition(
        name="tiny",
        title="tiny",
        dataset="tiny",
        target=Target("accuracy", 0.9, 0.9),
        loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
        splits=Splits(16, 16, 16, 16),
        limits={"v0.5": Limits(60, 100)},
        eval_period_seconds=10,
        eval_batch_size=16,
        default_batch_size=16,
        model=config or Config(),
    )


def batch(rows: int = 16, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs, targets, and weights of which the last two are 0."""
    rng = np.random.default_rng(seed)
    weights = np.ones(rows, np.float32)
    weights[-2:] = 0
    return {
        "inputs": rng.normal(size=(rows, 4)).astype(np.float32),
        "targets": rng.integers(0, 3, rows).astype(np.int32),
        "weights": weights,
    }
