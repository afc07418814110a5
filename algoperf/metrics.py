"""Metrics that several workloads share.

`..._outputs` reduces logits on the device, written against the array API standard;
`summarise_...` makes a split's metrics of these outputs, in numpy on the host.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def classification_outputs(
    xp: Any, logits: Any, batch: Mapping[str, Any], per_example: Any
) -> dict[str, Any]:
    """What accuracy and loss need of a batch, three arrays of shape [batch].

    xp: the array namespace. logits: [batch, classes]; batch: `targets` integer [batch]
    and `weights` float [batch], 0 for padding; per_example: the loss, float [batch].
    """
    correct = xp.argmax(logits, axis=-1) == batch["targets"]
    return {"loss": per_example, "correct": correct, "weights": batch["weights"]}


def summarise_classification(
    outputs: Iterable[Mapping[str, np.ndarray]],
) -> dict[str, float]:
    """`accuracy` (0 to 1), `loss` (mean) and `num_examples` of a split.

    outputs: those of its batches, see `classification_outputs`. Padding does not count;
    a loss that is not finite stays so.
    """
    loss = correct = total = 0.0
    for batch in outputs:
        is_real = batch["weights"] > 0
        weights = batch["weights"][is_real].astype(np.float64)
        loss += float(np.sum(weights * batch["loss"][is_real]))
        correct += float(np.sum(weights * batch["correct"][is_real]))
        total += float(np.sum(weights))
    return {
        "accuracy": correct / total,
        "loss": loss / total,
        "num_examples": total,
    }
