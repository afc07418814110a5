"""The loss of problems that have no accuracy, where the model returns it for each example."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from algoperf.backend import Arrays


def example_losses(xp: Any, labels: Any, logits: Any) -> Any:
    """The model's output is the loss of each example, [batch]."""
    return logits


def outputs(
    xp: Any, logits: Any, batch: Mapping[str, Any], per_example: Any
) -> dict[str, Any]:
    """Loss and weight of each example, [batch]."""
    return {"loss": per_example, "weights": batch["weights"]}


def summarise(outputs: Iterator[Arrays]) -> dict[str, float]:
    """`loss` (mean) and `num_examples` of a split."""
    total = count = 0.0
    for batch in outputs:
        is_real = batch["weights"] > 0
        total += float(batch["loss"][is_real].astype(np.float64).sum())
        count += float(is_real.sum())
    return {"loss": total / count, "num_examples": count}
