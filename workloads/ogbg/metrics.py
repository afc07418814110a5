"""Mean average precision, accuracy and loss over the measured labels."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_UNMEASURED = np.uint32(0xFFFFFFFF)  # behind every key
_LAST_BIT = np.uint32(1)  # of a key: 0 where the label is positive
_ROWS_AT_ONCE = 512  # whose keys, of 128 tasks, fit into a core's cache


def outputs(
    xp: Any, logits: Any, batch: Mapping[str, Any], per_example: Any
) -> dict[str, Any]:
    """What the metrics need of a batch; rows are graphs, padding included.

    logits, `targets`, `weights` and per_example: [rows, tasks]; `is_graph`: [rows].
    """
    return {
        "logits": logits,
        "targets": batch["targets"],
        "weights": batch["weights"],
        "is_graph": batch["is_graph"],
        "loss": xp.sum(per_example, axis=-1),
    }


def summarise(batches: Iterable[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Metrics of a split from the outputs of its batches.

    `mean_average_precision`, `accuracy` (of logit > 0) and `loss` are over measured
    labels; `num_examples` counts graphs. All three are NaN if a logit is.
    """
    tally = _Tally()
    for batch in batches:
        tally.add(batch)
    precisions = average_precisions(tally.keys)
    counted = precisions[~np.isnan(precisions)]
    is_known = len(counted) > 0 and not math.isnan(tally.hits)
    num_labels = tally.num_labels
    return {
        "mean_average_precision": float(counted.mean()) if is_known else math.nan,
        "accuracy": tally.hits / num_labels if num_labels else math.nan,
        "loss": tally.loss / num_labels if num_labels else math.nan,
        "num_examples": float(tally.num_graphs),
    }


class _Tally:
    """Sums over batches, and the keys that must be kept until all are there."""

    def __init__(self) -> None:
        self.keys: list[np.ndarray] = []  # uint32 [tasks, rows] of each batch
        self.hits = self.loss = 0.0
        self.num_labels = self.num_graphs = 0

    def add(self, batch: Mapping[str, np.ndarray]) -> None:
        num_rows, num_tasks = batch["logits"].shape
        keys = np.empty((num_tasks, num_rows), np.uint32)
        # In blocks that stay in the cache: several times faster than whole arrays.
        for first in range(0, num_rows, _ROWS_AT_ONCE):
            rows = slice(first, first + _ROWS_AT_ONCE)
            block = {name: array[rows] for name, array in batch.items()}
            keys[:, rows] = self._add_block(**block).T
        self.keys.append(keys)

    def _add_block(
        self,
        logits: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        is_graph: np.ndarray,
        loss: np.ndarray,
    ) -> np.ndarray:
        is_measured = weights > 0
        if not is_graph.all():
            is_measured &= is_graph[:, np.newaxis]
        is_positive = targets > 0
        self.hits += _count_hits(logits, is_positive, is_measured)
        self.loss += float(loss[is_graph].sum(dtype=np.float64))
        self.num_labels += int(np.count_nonzero(is_measured))
        self.num_graphs += int(np.count_nonzero(is_graph))
        return sort_keys(sigmoid(logits), is_positive, is_measured)


def _count_hits(
    logits: np.ndarray, is_positive: np.ndarray, is_measured: np.ndarray
) -> float:
    """Measured labels on whose side of 0 the logit is; NaN if such a logit is."""
    # The largest of all is NaN if any is.
    if np.isnan(logits.max(initial=0)) and np.isnan(logits[is_measured]).any():
        return math.nan
    return float(np.count_nonzero(((logits > 0) == is_positive) & is_measured))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float32, as the published metric ranks them.

    They saturate: logits above 17 tie at 1. Ranks of the logits themselves would
    differ there, and the targets were measured with these ties.
    """
    scores: np.ndarray = np.negative(logits, dtype=np.float32)
    with np.errstate(over="ignore"):  # to infinity: a probability of 0
        np.exp(scores, out=scores)
    scores += 1
    np.reciprocal(scores, out=scores)
    return scores


def sort_keys(
    scores: np.ndarray, is_positive: np.ndarray, is_measured: np.ndarray
) -> np.ndarray:
    """What `average_precisions` sorts, uint32 of the arguments' shape.

    scores: float32 in 0..1; is_positive, is_measured: bool. The bits of such numbers
    are in their order and leave two free: a key is the score's bits, then one for a
    label that is not positive.
    """
    last_bits = (~is_positive).view(np.int8)
    last_bits |= -(~is_measured).view(np.int8)  # -1, all bits, where not measured
    # A row is longer than its keys: transposing rows of 512 bytes takes far longer.
    rows, tasks = scores.shape
    keys = np.empty((rows, tasks + 1), np.int32)[:, :tasks]
    np.left_shift(scores.view(np.int32), 1, out=keys)
    keys |= last_bits
    return keys.view(np.uint32)


def average_precisions(keys: Sequence[np.ndarray]) -> np.ndarray:
    """Average precision of each task, float64 [tasks], from `sort_keys` of batches.

    keys: of each batch, [tasks, rows]. The sum over distinct thresholds of (recall
    gained) * precision, ties grouped, without interpolation. NaN for a task whose
    measured labels are all alike.
    """
    precisions = []
    for of_task in zip(*keys, strict=True):
        joined = np.concatenate(of_task)
        joined.sort()
        precisions.append(_average_precision(joined))
    return np.array(precisions)


def _average_precision(keys: np.ndarray) -> float:
    """keys: uint32 [rows], sorted."""
    keys = keys[: keys.searchsorted(_UNMEASURED)]
    places = ((keys & _LAST_BIT) == 0).nonzero()[0]
    positive = keys[places]
    if not 0 < len(positive) < len(keys):
        return math.nan
    # A threshold's rows begin with its positive ones: how many, and how many of the
    # positive ones, reach each positive's threshold.
    first = positive.searchsorted(positive)
    num_above = len(keys) - places[first]
    num_hits = len(positive) - first
    return float(np.mean(num_hits / num_above))
