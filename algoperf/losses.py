"""The five losses and their output activations, once for all frameworks.

Which loss takes what, masks, smoothing, reduction and CTC's lengths are written here, against
the array API standard. What a framework computes in one piece, it brings as `Kernels`; the
backends' `losses` have these and `loss` and `output_activation` with them.

Every loss takes logits, never probabilities, computes in float32 (float64 stays) and returns
the keys of `spec.LossReturn`. Without a mask every element of `per_example` counts as valid. A
mask has the shape of `per_example` or of its leading axes. It multiplies, and where it is 0
labels and logits are replaced before they are used, so that a NaN or an infinity there reaches
neither the loss nor the gradient.
"""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

from algoperf.deferred_logits import DeferredLogits
from algoperf.errors import AlgoPerfError
from algoperf.spec import LossType

LossDict = dict[str, Any]
Shape = Sequence[int]


class Kernels(abc.ABC):
    """What a framework brings to the losses. Arrays are its own; logits are float."""

    __slots__ = ()

    @property
    @abc.abstractmethod
    def xp(self) -> Any:
        """The array namespace."""

    @abc.abstractmethod
    def as_array(self, x: Any) -> Any:
        """An array of the framework, of itself or of what can become one."""

    @abc.abstractmethod
    def softmax(self, logits: Any) -> Any:
        """Over the last axis."""

    @abc.abstractmethod
    def sigmoid(self, logits: Any) -> Any:
        """Element by element."""

    @abc.abstractmethod
    def cross_entropy_of_classes(self, logits: Any, labels: Any, smoothing: Any) -> Any:
        """Softmax cross-entropy [...] of logits [..., K] and class numbers [...].

        smoothing: a number or a scalar array; see `smooth_distributions`.
        """

    @abc.abstractmethod
    def cross_entropy_of_distributions(self, logits: Any, labels: Any) -> Any:
        """Softmax cross-entropy [...] of logits and distributions, both [..., K]."""

    @abc.abstractmethod
    def binary_cross_entropy(self, logits: Any, labels: Any) -> Any:
        """Sigmoid cross-entropy of each element."""

    @abc.abstractmethod
    def ctc(self, scores: Any, is_frame: Any, targets: Any, is_token: Any) -> Any:
        """-log p(targets) [batch]; anything finite where the targets do not fit.

        scores: [batch, frames, K], finite; is_frame: bool [batch, frames]; targets, 0 in
        padding, and is_token: [batch, n]. Padding is at the end; the blank is 0.
        """

    @abc.abstractmethod
    def by_parts(
        self, logits: DeferredLogits, loss: Callable[..., Any], *others: Any
    ) -> Any:
        """`loss(logits, *others)` [batch, length] with a part of the logits at a time."""


def loss(
    kernels: Kernels,
    loss_type: LossType,
    labels: Any,
    logits: Any,
    mask: Any | None = None,
    label_smoothing: Any = 0.0,
) -> LossDict:
    """`Workload.loss_fn` for `loss_type`: see the functions of this module."""
    if loss_type is LossType.CTC_LOSS:
        return ctc_loss(kernels, labels, logits, mask)
    labels = kernels.as_array(labels)
    if loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
        return softmax_cross_entropy(kernels, labels, logits, mask, label_smoothing)
    if loss_type is LossType.SIGMOID_CROSS_ENTROPY:
        return sigmoid_cross_entropy(kernels, labels, logits, mask, label_smoothing)
    if loss_type is LossType.MEAN_SQUARED_ERROR:
        return _regression(kernels, kernels.xp.square, labels, logits, mask)
    if loss_type is LossType.MEAN_ABSOLUTE_ERROR:
        return _regression(kernels, kernels.xp.abs, labels, logits, mask)
    raise AlgoPerfError(
        f"The harness computes no loss of type {loss_type.name}: the workload defines it."
    )


def of_examples(kernels: Kernels, per_example: Any, mask: Any | None) -> LossDict:
    """The loss that a model defines: its examples' losses, [batch, ...]."""
    per_example = _as_float(kernels, per_example)
    mask = _expanded(kernels, mask, per_example.shape)
    return _reduced(kernels.xp, per_example, mask)


def output_activation(kernels: Kernels, loss_type: LossType, logits: Any) -> Any:
    """Probabilities or values: softmax (also for CTC), sigmoid or identity.

    For CTC `logits` may be the pair (logits, paddings); the paddings are handed on.
    """
    if loss_type is LossType.CTC_LOSS and isinstance(logits, tuple):
        scores, paddings = logits
        return kernels.softmax(scores), paddings
    if loss_type in (LossType.SOFTMAX_CROSS_ENTROPY, LossType.CTC_LOSS):
        return kernels.softmax(logits)
    if loss_type is LossType.SIGMOID_CROSS_ENTROPY:
        return kernels.sigmoid(logits)
    return logits


def softmax_cross_entropy(
    kernels: Kernels, labels: Any, logits: Any, mask: Any | None, label_smoothing: Any
) -> LossDict:
    """per_example [batch, ...] from logits [batch, ..., classes].

    labels: class numbers int [batch, ...], or distributions [batch, ..., classes]
    (one-hot, mixed). Smoothing: y <- (1 - a) y + a / classes. Deferred logits are
    computed part by part where labels are class numbers.
    """
    if isinstance(logits, DeferredLogits) and labels.ndim < logits.ndim:
        return _by_parts(kernels, labels, logits, mask, label_smoothing)
    xp = kernels.xp
    logits = _as_float(kernels, logits)
    check_labels(labels.shape, logits.shape)
    mask = _expanded(kernels, mask, logits.shape[:-1])
    logits, labels = _where(xp, mask, logits), _where(xp, mask, labels)
    if labels.ndim < logits.ndim:
        losses = kernels.cross_entropy_of_classes(logits, labels, label_smoothing)
        return _reduced(xp, losses, mask)
    labels = xp.astype(labels, logits.dtype, copy=False)
    if is_used(label_smoothing):
        labels = smooth_distributions(labels, label_smoothing)
    losses = kernels.cross_entropy_of_distributions(logits, labels)
    return _reduced(xp, losses, mask)


def _by_parts(
    kernels: Kernels,
    labels: Any,
    logits: DeferredLogits,
    mask: Any | None,
    label_smoothing: Any,
) -> LossDict:
    """`softmax_cross_entropy` of deferred logits with class numbers."""
    xp = kernels.xp
    check_labels(labels.shape, logits.shape)
    mask = _expanded(kernels, mask, labels.shape)
    is_counted = xp.ones_like(labels) if mask is None else mask != 0

    def losses(logits: Any, labels: Any, is_counted: Any) -> Any:
        counted = softmax_cross_entropy(
            kernels, labels, logits, is_counted, label_smoothing
        )
        return counted["per_example"]

    return _reduced(xp, kernels.by_parts(logits, losses, labels, is_counted), mask)


def sigmoid_cross_entropy(
    kernels: Kernels, labels: Any, logits: Any, mask: Any | None, label_smoothing: Any
) -> LossDict:
    """per_example [batch, ...], element by element; labels and logits of that shape.

    labels: in [0, 1], NaN allowed where masked. Smoothing: y <- (1 - a) y + a / K with
    K the size of the last axis (the published formula of ogbg, for K tasks); K = 2 for
    one label per example.
    """
    xp = kernels.xp
    logits = _as_float(kernels, logits)
    check_equal_shapes(labels.shape, logits.shape)
    mask = _expanded(kernels, mask, logits.shape)
    labels = xp.astype(labels, logits.dtype, copy=False)
    logits, labels = _where(xp, mask, logits), _where(xp, mask, labels)
    if is_used(label_smoothing):
        labels = smooth_binary(labels, label_smoothing)
    return _reduced(xp, kernels.binary_cross_entropy(logits, labels), mask)


def _regression(
    kernels: Kernels,
    error: Callable[[Any], Any],
    labels: Any,
    logits: Any,
    mask: Any | None,
) -> LossDict:
    """per_example [batch]: mean of `error(logits - labels)` over the other axes."""
    xp = kernels.xp
    logits = _as_float(kernels, logits)
    check_equal_shapes(labels.shape, logits.shape)
    mask = _expanded(kernels, mask, logits.shape[:1])
    labels = xp.astype(labels, logits.dtype, copy=False)
    errors = error(_where(xp, mask, logits) - _where(xp, mask, labels))
    other_axes = tuple(range(1, errors.ndim))
    per_example = xp.mean(errors, axis=other_axes) if other_axes else errors
    return _reduced(xp, per_example, mask)


def ctc_loss(
    kernels: Kernels, labels: Any, logits: Any, mask: Any | None = None
) -> LossDict:
    """per_example [batch]: -log p(targets) of each utterance; blank 0.

    labels: (targets int [batch, n], paddings [batch, n]); logits: (scores [batch,
    frames, classes], paddings [batch, frames]). Paddings are 1 in padding, which is at
    the end; mask: [batch]. n_valid_examples is the number of target tokens, at least 1.
    An utterance whose targets do not fit into its frames has loss 0 and no tokens; how
    many there are is in the extra entry `n_infeasible`.
    """
    xp = kernels.xp
    (targets, target_paddings), (scores, frame_paddings) = (
        map(kernels.as_array, pair) for pair in ctc_parts(labels, logits)
    )
    scores = _as_float(kernels, scores)
    weights = _expanded(kernels, mask, targets.shape[:1])
    if weights is None:
        weights = xp.ones_like(scores[:, 0, 0])
    is_token = (target_paddings == 0) & (weights != 0)[:, None]
    is_frame = (frame_paddings == 0) & (weights != 0)[:, None]
    num_tokens, num_frames = is_token.sum(-1), is_frame.sum(-1)
    is_feasible = ctc_frames_needed(targets, is_token) <= num_frames
    losses = kernels.ctc(
        xp.where(is_frame[..., None], scores, 0.0),
        is_frame,
        xp.where(is_token, targets, 0),
        is_token,
    )
    # Without frames there is nothing to compute a loss of.
    per_example = xp.where(is_feasible & (num_frames > 0), losses, 0.0) * weights
    num_tokens = xp.astype(num_tokens, weights.dtype, copy=False)
    tokens = (xp.where(is_feasible, num_tokens, 0) * weights).sum()
    return {
        "summed": per_example.sum(),
        "n_valid_examples": xp.where(tokens < 1, 1.0, tokens),
        "per_example": per_example,
        "n_infeasible": (~is_feasible).sum(),
    }


def _reduced(xp: Any, per_example: Any, mask: Any | None) -> LossDict:
    if mask is not None:
        per_example = _where(xp, mask, per_example) * mask
    summed = per_example.sum()
    if mask is None:
        num_elements = math.prod(per_example.shape)
        count = xp.full_like(summed, float(num_elements))
    else:
        count = mask.sum()
    return {"summed": summed, "n_valid_examples": count, "per_example": per_example}


def is_used(label_smoothing: Any) -> bool:
    """Whether smoothing must be computed: always for a strength that is an array."""
    return not isinstance(label_smoothing, int | float) or label_smoothing != 0


def _as_float(kernels: Kernels, x: Any) -> Any:
    """As float32; float64 stays."""
    x = kernels.as_array(x.compute() if isinstance(x, DeferredLogits) else x)
    xp = kernels.xp
    is_wide = x.dtype == xp.float64
    return xp.astype(x, xp.float64 if is_wide else xp.float32, copy=False)


def _where(xp: Any, mask: Any | None, x: Any) -> Any:
    """`x` with 0 where the mask is 0."""
    if mask is None:
        return x
    return xp.where(with_trailing_axes(mask, x.ndim) != 0, x, 0)


def _expanded(kernels: Kernels, mask: Any | None, shape: Shape) -> Any | None:
    """The mask as float, repeated along those last axes of `shape` that it lacks."""
    if mask is None:
        return None
    mask = _as_float(kernels, mask)
    check_mask(mask.shape, shape)
    mask = with_trailing_axes(mask, len(shape))
    return kernels.xp.broadcast_to(mask, tuple(shape))


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
