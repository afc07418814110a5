"""The loss of Inception's two heads; accuracy is the first head's (sheet, §2.9)."""

from typing import Any

from algoperf.metrics import classification_outputs as outputs
from algoperf.metrics import summarise_classification as summarise

from .inception import AUXILIARY_WEIGHT, LABEL_SMOOTHING

__all__ = ["example_losses", "outputs", "summarise"]


def example_losses(xp: Any, labels: Any, logits: Any) -> Any:
    """Cross-entropy with smoothed labels, and in training a share of the second head's: [batch].

    labels: integer [batch]. logits: [batch, classes], or in training those of both heads.
    """
    if not isinstance(logits, tuple):
        return _smoothed_cross_entropy(xp, labels, logits)
    first, second = (_smoothed_cross_entropy(xp, labels, head) for head in logits)
    return first + AUXILIARY_WEIGHT * second


def _smoothed_cross_entropy(xp: Any, labels: Any, logits: Any) -> Any:
    # 0, 1, 2, … in every row, wherever the logits are; exact in float32.
    classes = xp.cumulative_sum(xp.ones_like(logits), axis=-1) - 1
    is_label = classes == xp.astype(labels, logits.dtype)[:, None]
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    log_sum = xp.log(xp.sum(xp.exp(shifted), axis=-1))
    of_label = xp.sum(xp.where(is_label, shifted, 0.0), axis=-1)
    uniform = xp.mean(shifted, axis=-1)
    return log_sum - (1 - LABEL_SMOOTHING) * of_label - LABEL_SMOOTHING * uniform
