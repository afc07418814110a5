"""The five losses in numpy float64: what both backends are tested against.

Every function returns the keys of `spec.LossReturn`. Definitions, where the published
benchmark leaves room:

- Without a mask, `n_valid_examples` is the number of elements of `per_example`.
- A mask has the shape of `per_example` or of its leading axes. It multiplies, and where
  it is 0 the loss is 0 whatever labels and logits hold, NaN included.
- Smoothing is y <- (1 - a) y + a / K. For the sigmoid, K is the size of the labels'
  last axis (the published formula of ogbg: 128 tasks), and 2 for one label per example
  ([batch] or [batch, 1]).
- CTC counts target tokens (at least 1) and, as `n_infeasible`, unmasked utterances that
  do not fit into their frames; these have loss 0 and no tokens.
"""

from typing import Any

import numpy as np

Result = dict[str, Any]


def _masked(per_example: np.ndarray, mask: Any | None) -> Result:
    if mask is None:
        count = float(per_example.size)
    else:
        mask = np.asarray(mask, np.float64)
        mask = mask.reshape(mask.shape + (1,) * (per_example.ndim - mask.ndim))
        mask = np.broadcast_to(mask, per_example.shape)
        per_example = np.where(mask != 0, per_example, 0.0) * mask
        count = float(mask.sum())
    return {
        "summed": float(per_example.sum()),
        "n_valid_examples": count,
        "per_example": per_example,
    }


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax_cross_entropy(
    labels: Any, logits: Any, mask: Any | None = None, label_smoothing: float = 0.0
) -> Result:
    """labels: int [batch, ...], or like logits; logits: [batch, ..., classes]."""
    logits = np.asarray(logits, np.float64)
    labels = np.asarray(labels)
    classes = logits.shape[-1]
    if labels.ndim < logits.ndim:
        labels = labels[..., None] == np.arange(classes)
    smooth = (1 - label_smoothing) * labels + label_smoothing / classes
    with np.errstate(invalid="ignore"):
        return _masked(-(smooth * _log_softmax(logits)).sum(axis=-1), mask)


def sigmoid_cross_entropy(
    labels: Any, logits: Any, mask: Any | None = None, label_smoothing: float = 0.0
) -> Result:
    """Labels in [0, 1], or NaN where masked, and logits, both [batch, ...]."""
    z = np.asarray(logits, np.float64)
    y = np.asarray(labels, np.float64)
    classes = y.shape[-1] if y.ndim > 1 and y.shape[-1] > 1 else 2
    y = (1 - label_smoothing) * y + label_smoothing / classes
    return _masked(np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))), mask)


def mean_squared_error(
    labels: Any, logits: Any, mask: Any | None = None, label_smoothing: float = 0.0
) -> Result:
    """Mean over all axes but the first of labels and logits. Ignores smoothing."""
    difference = np.asarray(logits, np.float64) - np.asarray(labels, np.float64)
    rows = difference.reshape(len(difference), -1)
    return _masked((rows**2).mean(axis=1), mask)


def mean_absolute_error(
    labels: Any, logits: Any, mask: Any | None = None, label_smoothing: float = 0.0
) -> Result:
    """Mean over all axes but the first of labels and logits. Ignores smoothing."""
    difference = np.asarray(logits, np.float64) - np.asarray(labels, np.float64)
    rows = difference.reshape(len(difference), -1)
    return _masked(np.abs(rows).mean(axis=1), mask)


def ctc_log_likelihood(log_probs: np.ndarray, tokens: list[int]) -> float:
    """log p(tokens) by the forward recursion over blank-separated tokens (blank 0).

    log_probs: [frames, classes] of valid frames only. -inf if the tokens do not fit.
    """
    extended = [0]
    for token in tokens:
        extended += [token, 0]
    alpha = np.full(len(extended), -np.inf)
    alpha[0] = 0.0  # before the first frame, at the leading blank
    started = False
    for frame in log_probs:
        previous = alpha
        alpha = np.full(len(extended), -np.inf)
        for s, symbol in enumerate(extended):
            reach = [previous[s]]
            if s >= 1 and (started or s == 1):
                reach.append(previous[s - 1])
            if started and s >= 2 and symbol not in (0, extended[s - 2]):
                reach.append(previous[s - 2])
            alpha[s] = np.logaddexp.reduce(reach) + frame[symbol]
        started = True
    return float(np.logaddexp.reduce(alpha[-2:]))


def ctc_loss(
    labels: Any, logits: Any, mask: Any | None = None, label_smoothing: float = 0.0
) -> Result:
    """-log p(targets) of each utterance; blank 0. Ignores smoothing.

    labels: (targets int [batch, n], paddings [batch, n]); logits: (scores
    [batch, frames, classes], paddings [batch, frames]); paddings are 1 in padding.
    """
    targets, target_paddings = (np.asarray(part) for part in labels)
    scores, frame_paddings = (np.asarray(part) for part in logits)
    weights = np.ones(len(targets)) if mask is None else np.asarray(mask, np.float64)
    losses = np.zeros(len(targets))
    tokens = infeasible = 0.0
    for i, weight in enumerate(weights):
        if weight == 0:
            continue
        row = [int(t) for t in targets[i][target_paddings[i] == 0]]
        valid = np.asarray(scores[i], np.float64)[frame_paddings[i] == 0]
        log_likelihood = ctc_log_likelihood(_log_softmax(valid), row)
        if np.isneginf(log_likelihood):
            infeasible += 1
            continue
        losses[i] = -log_likelihood * weight
        tokens += len(row) * weight
    return {
        "summed": float(losses.sum()),
        "n_valid_examples": max(1.0, tokens),
        "per_example": losses,
        "n_infeasible": infeasible,
    }
