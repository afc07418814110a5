"""The mean loss of a split, from sums over its batches."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def outputs(
    xp: Any, logits: Any, batch: Mapping[str, Any], per_example: Any
) -> dict[str, Any]:
    """A batch's summed loss and number of examples, two arrays of shape [1].

    xp: the array namespace. batch: `weights` [batch], 0 for padding; per_example: the
    loss, float32 [batch], already 0 for padding. As published, a batch is summed in
    float32; a split has tens of millions of examples, which stay on the devices.
    """
    is_real = batch["weights"] > 0
    return {
        "loss": xp.reshape(xp.sum(per_example), (1,)),
        "num_examples": xp.reshape(xp.sum(xp.astype(is_real, xp.float32)), (1,)),
    }


def summarise(outputs: Iterable[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """`loss` (mean, natural logarithm) and `num_examples` of a split.

    outputs: those of its batches; added in float64, as published. A loss that is not
    finite stays so.
    """
    loss = num_examples = 0.0
    for batch in outputs:
        loss += float(np.sum(batch["loss"], dtype=np.float64))
        num_examples += float(np.sum(batch["num_examples"], dtype=np.float64))
    return {"loss": loss / num_examples, "num_examples": num_examples}
