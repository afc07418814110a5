"""Definition, metrics and batches of the tiny models that the tests of both backends bind."""

from typing import Any

import numpy as np

from algoperf.definition import Limits, Splits, Target, WorkloadDefinition
from algoperf.spec import LossType


def outputs(xp: Any, logits: Any, batch: Any, per_example: Any) -> dict[str, Any]:
    """Of a metrics module: per-example loss and correctness, on the device."""
    correct = xp.argmax(logits, axis=-1) == batch["targets"]
    return {"loss": per_example, "correct": correct}


def definition(config: Any) -> WorkloadDefinition:
    """A definition around a model's config."""
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
        model=config,
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
