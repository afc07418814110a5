"""Share of the characters that were predicted, and mean loss of a character."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from algoperf.backend import Arrays


def outputs(
    xp: Any, logits: Any, batch: Mapping[str, Any], per_example: Any
) -> dict[str, Any]:
    """Means over the characters of each sequence, [batch].

    logits: [batch, characters, vocabulary]; per_example: [batch, characters].
    """
    correct = xp.argmax(logits, axis=-1) == batch["targets"]
    is_right = xp.astype(correct, per_example.dtype)
    return {
        "loss": xp.mean(per_example, axis=1),
        "correct": xp.mean(is_right, axis=1),
        "weights": batch["weights"],
    }


def summarise(outputs: Iterator[Arrays]) -> dict[str, float]:
    """`accuracy` (0 to 1), `loss` and `num_examples` (sequences) of a split."""
    sums, count = dict.fromkeys(("loss", "correct"), 0.0), 0.0
    for batch in outputs:
        is_real = batch["weights"] > 0
        for name in sums:
            sums[name] += float(batch[name][is_real].astype(np.float64).sum())
        count += float(is_real.sum())
    return {
        "accuracy": sums["correct"] / count,
        "loss": sums["loss"] / count,
        "num_examples": count,
    }
