"""A loss with a term of the parameters, such as coupled L2: how it reaches `loss_fn`.

A model whose file defines `parameter_loss` has such a term. `model_fn` then returns its logits
together with the term, and `loss_fn` takes both: every example's loss has the whole term, so that
their mean has it once. Submissions hand on what they got and need not know.
"""

from dataclasses import dataclass
from typing import Any

from algoperf import losses


@dataclass(frozen=True)
class WithParameterLoss:
    """What `model_fn` returns as logits where the loss has a term of the parameters."""

    logits: Any
    term: Any  # a scalar


def split(logits: Any) -> tuple[Any, Any | None]:
    """The logits themselves, and the term if there is one."""
    if isinstance(logits, WithParameterLoss):
        return logits.logits, logits.term
    return logits, None


def added(loss: dict[str, Any], term: Any, mask: Any | None) -> dict[str, Any]:
    """`spec.LossReturn` with the term in every example's loss; masked ones keep their 0."""
    per_example = loss["per_example"]
    of_each = (
        term
        if mask is None
        else term * losses.with_trailing_axes(mask, per_example.ndim)
    )
    return {
        **loss,
        "per_example": per_example + of_each,
        "summed": loss["summed"] + term * loss["n_valid_examples"],
    }
