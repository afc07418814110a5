"""What the losses of both frameworks share: checks of shapes, smoothing, CTC's lengths.

Arrays are of either framework (or numpy): only arithmetic, comparison, `shape` and `sum` are used.
"""

from collections.abc import Sequence
from typing import Any

from algoperf.errors import AlgoPerfError

Shape = Sequence[int]


def check_labels(labels: Shape, logits: Shape) -> None:
    """Softmax cross-entropy takes class numbers, or distributions over the classes."""
    labels, logits = tuple(labels), tuple(logits)
    if labels not in (logits, logits[:-1]):
        raise AlgoPerfError(
            f"Labels have shape {labels}, logits {logits}; softmax cross-entropy takes "
            f"class numbers of shape {logits[:-1]} or distributions of shape {logits}."
        )


def check_equal_shapes(labels: Shape, logits: Shape) -> None:
    """The elementwise losses do not broadcast."""
    labels, logits = tuple(labels), tuple(logits)
    if labels != logits:
        raise AlgoPerfError(
            f"Labels have shape {labels}, logits {logits}; this loss needs equal shapes: "
            "broadcasting would pair every label with every logit."
        )


def ctc_parts(labels: Any, logits: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """(targets, paddings) and (scores, paddings), once their shapes are found to fit."""
    for name, pair in (("labels", labels), ("logits", logits)):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise AlgoPerfError(
                f"CTC takes a pair (values, paddings) as {name}, and got {_told(pair)}."
            )
    (targets, target_paddings), (scores, frame_paddings) = labels, logits
    shapes = [
        tuple(x.shape) for x in (targets, target_paddings, scores, frame_paddings)
    ]
    of_targets, of_target_paddings, of_scores, of_frame_paddings = shapes
    is_right = (len(of_targets), len(of_scores)) == (2, 3)
    is_right = is_right and of_targets == of_target_paddings
    is_right = is_right and of_scores[:2] == of_frame_paddings
    if not is_right or of_targets[0] != of_scores[0]:
        raise AlgoPerfError(
            f"CTC got targets of shape {of_targets} with paddings {of_target_paddings}, "
            f"and scores of shape {of_scores} with paddings {of_frame_paddings}; it takes "
            "[batch, tokens] twice, [batch, frames, classes] and [batch, frames]."
        )
    return (targets, target_paddings), (scores, frame_paddings)


def _told(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{len(value)} values"
    shape = getattr(value, "shape", None)
    return (
        type(value).__name__ if shape is None else f"an array of shape {tuple(shape)}"
    )


def check_mask(mask: Shape, losses: Shape) -> None:
    """A mask has the shape of `per_example`, or of its leading axes."""
    mask, losses = tuple(mask), tuple(losses)
    if mask != losses[: len(mask)]:
        raise AlgoPerfError(
            f"The mask has shape {mask}, the losses {losses}; give one weight for each "
            f"loss, or for each example (shape {losses[:1]})."
        )


def with_trailing_axes(mask: Any, num_axes: int) -> Any:
    """`mask` with axes of size 1 appended, so that it broadcasts against `num_axes` axes."""
    return mask.reshape(tuple(mask.shape) + (1,) * (num_axes - mask.ndim))


def smooth_distributions(labels: Any, strength: Any) -> Any:
    """y <- (1 - a) y + a / K over the last axis, K classes."""
    return (1 - strength) * labels + strength / labels.shape[-1]


def smooth_binary(labels: Any, strength: Any) -> Any:
    """y <- (1 - a) y + a / K: the published formula of ogbg, with K the number of tasks.

    K = 2 where there is one label per example.
    """
    has_tasks = labels.ndim > 1 and labels.shape[-1] > 1
    classes = labels.shape[-1] if has_tasks else 2
    return (1 - strength) * labels + strength / classes


def ctc_frames_needed(targets: Any, is_token: Any) -> Any:
    """int [batch]: a frame for each token, and for a blank between equal neighbours.

    targets: int [batch, n]; is_token: bool [batch, n], false in padding.
    """
    repeats = (targets[:, 1:] == targets[:, :-1]) & is_token[:, 1:]
    return is_token.sum(-1) + repeats.sum(-1)
