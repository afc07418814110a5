"""The five losses and their output activations, in PyTorch; differentiable.

Every loss takes logits, never probabilities, computes in at least float32 and returns
the keys of `spec.LossReturn`. Without a mask every element of `per_example` counts as
valid. A mask has the shape of `per_example` or of its leading axes. It multiplies, and
where it is 0 labels and logits are replaced before they are used, so that a NaN or an
infinity there reaches neither the loss nor the gradient.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from algoperf import losses as shared
from algoperf.deferred_logits import DeferredLogits
from algoperf.pytorch_backend.output_layer import by_parts
from algoperf.spec import LossType

LossDict = dict[str, Any]


def loss(
    loss_type: LossType,
    labels: Any,
    logits: Any,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> LossDict:
    """`Workload.loss_fn` for `loss_type`: see the functions of this module."""
    if loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
        return softmax_cross_entropy(labels, logits, mask, label_smoothing)
    if loss_type is LossType.SIGMOID_CROSS_ENTROPY:
        return sigmoid_cross_entropy(labels, logits, mask, label_smoothing)
    if loss_type is LossType.MEAN_SQUARED_ERROR:
        return _regression(torch.square, labels, logits, mask)
    if loss_type is LossType.MEAN_ABSOLUTE_ERROR:
        return _regression(torch.abs, labels, logits, mask)
    return ctc_loss(labels, logits, mask)


def of_examples(per_example: Tensor, mask: Tensor | None) -> LossDict:
    """The loss that a model defines: its examples' losses, [batch, ...]."""
    per_example = _as_float(per_example)
    return _reduce(per_example, _expand(mask, tuple(per_example.shape)))


def output_activation(loss_type: LossType, logits: Any) -> Any:
    """Probabilities or values: softmax (also for CTC), sigmoid or identity.

    For CTC `logits` may be the pair (logits, paddings); the paddings are handed on.
    """
    if loss_type is LossType.CTC_LOSS and isinstance(logits, tuple):
        scores, paddings = logits
        return torch.softmax(scores, dim=-1), paddings
    if loss_type in (LossType.SOFTMAX_CROSS_ENTROPY, LossType.CTC_LOSS):
        return torch.softmax(logits, dim=-1)
    if loss_type is LossType.SIGMOID_CROSS_ENTROPY:
        return torch.sigmoid(logits)
    return logits


def softmax_cross_entropy(
    labels: Tensor,
    logits: Tensor,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> LossDict:
    """per_example [batch, ...] from logits [batch, ..., classes].

    labels: class numbers int [batch, ...], or distributions [batch, ..., classes]
    (one-hot, mixed). Smoothing: y <- (1 - a) y + a / classes. Deferred logits are
    computed part by part where labels are class numbers.
    """
    if isinstance(logits, DeferredLogits) and labels.ndim < logits.ndim:
        return _by_parts(labels, logits, mask, label_smoothing)
    logits = _as_float(logits)
    shared.check_labels(labels.shape, logits.shape)
    mask = _expand(mask, logits.shape[:-1])
    logits, labels = _where(mask, logits), _where(mask, labels)
    if labels.ndim == logits.ndim:
        smooth = labels.to(logits.dtype)
        if label_smoothing != 0:
            smooth = shared.smooth_distributions(smooth, label_smoothing)
        losses = -(smooth * torch.log_softmax(logits, dim=-1)).sum(dim=-1)
        return _reduce(losses, mask)
    losses = functional.cross_entropy(
        logits.flatten(0, -2),
        labels.flatten().long(),
        reduction="none",
        label_smoothing=float(label_smoothing),
    )
    return _reduce(losses.reshape(labels.shape), mask)


def _by_parts(
    labels: Tensor, logits: DeferredLogits, mask: Tensor | None, label_smoothing: float
) -> LossDict:
    """`softmax_cross_entropy` of deferred logits with class numbers."""
    shared.check_labels(labels.shape, logits.shape)
    mask = _expand(mask, labels.shape)
    is_counted = torch.ones_like(labels) if mask is None else mask != 0

    def losses(logits: Tensor, labels: Tensor, is_counted: Tensor) -> Any:
        counted = softmax_cross_entropy(labels, logits, is_counted, label_smoothing)
        return counted["per_example"]

    return _reduce(by_parts(logits, losses, labels, is_counted), mask)


def sigmoid_cross_entropy(
    labels: Tensor,
    logits: Tensor,
    mask: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> LossDict:
    """per_example [batch, ...] element by element; labels and logits of that shape.

    labels: in [0, 1], NaN allowed where masked. Smoothing: y <- (1 - a) y + a / K with
    K the size of the last axis (the published formula of ogbg, for K tasks); K = 2 for
    one label per example.
    """
    logits = _as_float(logits)
    shared.check_equal_shapes(labels.shape, logits.shape)
    mask = _expand(mask, logits.shape)
    logits, labels = _where(mask, logits), _where(mask, labels.to(logits.dtype))
    if label_smoothing != 0:
        labels = shared.smooth_binary(labels, label_smoothing)
    losses = functional.binary_cross_entropy_with_logits(
        logits, labels, reduction="none"
    )
    return _reduce(losses, mask)


def _regression(
    error: Callable[[Tensor], Tensor],
    labels: Tensor,
    logits: Tensor,
    mask: Tensor | None,
) -> LossDict:
    """per_example [batch]: mean of `error(logits - labels)` over the other axes."""
    logits = _as_float(logits)
    shared.check_equal_shapes(labels.shape, logits.shape)
    mask = _expand(mask, logits.shape[:1])
    difference = _where(mask, logits) - _where(mask, labels.to(logits.dtype))
    rows = difference.reshape(difference.shape[0], -1)
    return _reduce(error(rows).mean(dim=1), mask)


def ctc_loss(
    labels: tuple[Tensor, Tensor],
    logits: tuple[Tensor, Tensor],
    mask: Tensor | None = None,
) -> LossDict:
    """per_example [batch]: -log p(targets) of each utterance; blank 0.

    labels: (targets int [batch, n], paddings [batch, n]); logits: (scores
    [batch, frames, classes], paddings [batch, frames]). Paddings are 1 in padding,
    which is at the end; mask: [batch]. n_valid_examples is the number of target tokens,
    at least 1. An utterance whose targets do not fit into its frames has loss 0 and no
    tokens; how many there are is in the extra entry `n_infeasible`.
    """
    (targets, target_paddings), (scores, paddings) = shared.ctc_parts(labels, logits)
    is_token, is_frame = target_paddings == 0, paddings == 0
    scores = _as_float(scores)
    weights = _expand(mask, targets.shape[:1])
    if weights is None:
        weights = torch.ones(targets.shape[:1], device=scores.device)
    is_token = is_token & (weights != 0)[:, None]
    is_frame = is_frame & (weights != 0)[:, None]
    num_tokens, num_frames = is_token.sum(dim=-1), is_frame.sum(dim=-1)
    feasible = shared.ctc_frames_needed(targets, is_token) <= num_frames
    scores = scores.masked_fill(~is_frame[..., None], 0.0)
    losses = functional.ctc_loss(
        torch.log_softmax(scores, dim=-1).transpose(0, 1),
        torch.where(is_token, targets, 0).long(),
        # The kernel wants a frame; utterances without any are replaced below.
        num_frames.clamp(min=1),
        num_tokens,
        reduction="none",
        zero_infinity=True,
    )
    counted = feasible & (num_frames > 0)
    per_example = torch.where(counted, losses, 0.0) * weights
    tokens = torch.where(feasible, num_tokens, 0) * weights
    return {
        "summed": per_example.sum(),
        "n_valid_examples": tokens.sum().clamp(min=1.0),
        "per_example": per_example,
        "n_infeasible": (~feasible).sum(),
    }


def _reduce(per_example: Tensor, mask: Tensor | None) -> LossDict:
    if mask is None:
        count = per_example.new_full((), per_example.numel())
    else:
        per_example = _where(mask, per_example) * mask
        count = mask.sum()
    return {
        "summed": per_example.sum(),
        "n_valid_examples": count,
        "per_example": per_example,
    }


def _as_float(x: Tensor) -> Tensor:
    """As float32; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _where(mask: Tensor | None, x: Tensor) -> Tensor:
    """`x` with 0 where the mask is 0."""
    if mask is None:
        return x
    mask = shared.with_trailing_axes(mask, x.ndim)
    return x.masked_fill(mask == 0, 0)


def _expand(mask: Tensor | None, shape: tuple[int, ...]) -> Tensor | None:
    """The mask as float, repeated along the last axes of `shape` that it lacks."""
    if mask is None:
        return None
    mask = _as_float(mask)
    shared.check_mask(mask.shape, shape)
    mask = shared.with_trailing_axes(mask, len(shape))
    return mask.expand(shape)
