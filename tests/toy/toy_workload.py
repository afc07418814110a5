"""A workload in numpy: two Gaussian blobs, a linear classifier, accuracy.

One module stands for definition.py, data.py, metrics.py and model_toy.py of a workload's folder.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.definition import (
    Limits,
    Splits,
    Target,
    Variant,
    WorkloadDefinition,
)
from algoperf.pipeline import Batches, DataRequest, ExampleBatches
from algoperf.prepared import Preparation
from algoperf.spec import LossType

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ModelConfig:
    features: int = 4
    classes: int = 2


SPLITS = Splits(train=64, eval_train=20, validation=20, test=20)
LIMITS = Limits(budget_seconds=100, step_hint=100)
SHORT = Limits(budget_seconds=0.5, step_hint=100)
DEFINITION = WorkloadDefinition(
    name="blobs",
    title="Two blobs",
    dataset="blobs",
    target=Target("accuracy", validation=0.9, test=0.9),
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    splits=SPLITS,
    limits={"v0.5": LIMITS, "v0.6": LIMITS},
    eval_period_seconds=10,
    eval_batch_size=8,
    default_batch_size=16,
    model=ModelConfig(),
    tier="development",
    variants={
        "far": Variant(Target("accuracy", validation=0.95, test=0.95)),
        "never": Variant(Target("accuracy", validation=2.0, test=2.0)),
        "short": Variant(
            Target("accuracy", validation=2.0, test=2.0),
            fields={"limits": {"v0.5": SHORT, "v0.6": SHORT}},
        ),
    },
    mini=Variant(
        Target("accuracy", validation=0.8, test=0.8),
        fields={"prepared_name": "blobs"},
    ),
)


def examples(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs float64 [n, 4] and labels int64 [n]; the blobs are far apart."""
    size = SPLITS.size("train" if split == "eval_train" else split)
    rng = np.random.default_rng(
        ["train", "validation", "test"].index(split.removeprefix("eval_"))
    )
    labels = np.arange(size) % 2
    inputs = rng.standard_normal((size, 4)) + 4.0 * (labels[:, None] - 0.5)
    return inputs, labels


def open_batches(request: DataRequest) -> Batches:
    inputs, labels = examples(request.split)

    def read(ids: np.ndarray, epochs: np.ndarray) -> dict[str, np.ndarray]:
        return {"inputs": inputs[ids], "targets": labels[ids]}

    return ExampleBatches(request, read)


def build(config: ModelConfig) -> dict[str, np.ndarray]:
    return {
        "weight": np.zeros((config.features, config.classes)),
        "bias": np.zeros(config.classes),
    }


def outputs(xp, logits, batch, per_example):
    correct = (xp.argmax(logits, axis=-1) == batch["targets"]) * batch["weights"]
    return {"loss": per_example, "correct": correct, "weights": batch["weights"]}


def summarise(parts) -> dict[str, float]:
    totals = {"loss": 0.0, "correct": 0.0, "weights": 0.0}
    for part in parts:
        for name in totals:
            totals[name] += float(part[name].sum())
    count = totals["weights"]
    return {
        "accuracy": totals["correct"] / count,
        "loss": totals["loss"] / count,
        "num_examples": count,
    }


def prepare(folder: Path) -> None:
    """Prepared data without any file: the examples are computed."""
    with Preparation(
        folder / "blobs", dataset="blobs", format_version=1
    ) as preparation:
        preparation.identify(source="computed")
        preparation.finish({"train": 64, "validation": 20, "test": 20}, facts={})
