"""Perplexity: the exponential of the mean loss of a token."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def outputs(
    xp: Any, logits: Any, batch: Mapping[str, Any], per_example: Any
) -> dict[str, Any]:
    """Sums over the tokens of each sequence: `loss` and `weights`, float32 [batch].

    xp: the array namespace. logits are not looked at: they may be deferred;
    batch["weights"] and per_example, the losses: float32 [batch, length].
    """
    return {
        "loss": xp.sum(per_example, axis=1),
        "weights": xp.sum(batch["weights"], axis=1),
    }


def summarise(batches: Iterable[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """`loss`, `ppl` and `num_examples` of a split from the outputs of its batches.

    `loss` is the mean over tokens, not a mean of means; NaN without any. `ppl` is
    infinite where its value is beyond float64. `num_examples` counts sequences.
    """
    loss = num_tokens = 0.0
    num_examples = 0
    for batch in batches:
        is_real = batch["weights"] > 0
        loss += float(batch["loss"][is_real].sum(dtype=np.float64))
        num_tokens += float(batch["weights"][is_real].sum(dtype=np.float64))
        num_examples += int(is_real.sum())
    mean = loss / num_tokens if num_tokens else math.nan
    return {
        "loss": mean,
        "ppl": perplexity(mean),
        "num_examples": float(num_examples),
    }


def perplexity(mean_loss: float) -> float:
    """exp(mean loss): NaN of NaN, infinity where float64 cannot hold it."""
    try:
        return math.exp(mean_loss)
    except OverflowError:
        return math.inf
