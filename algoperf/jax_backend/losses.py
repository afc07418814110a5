"""The five losses and their output activations in JAX; traceable, differentiable.

Every loss takes logits, never probabilities, computes in float32 and returns the keys
of `spec.LossReturn`. Without a mask every element of `per_example` counts as valid. A
mask has the shape of `per_example` or of its leading axes. It multiplies, and where it
is 0 labels and logits are replaced before they are used, so that a NaN or an infinity
there reaches neither the loss nor the gradient.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf import losses as shared
from algoperf.deferred_logits import DeferredLogits
from algoperf.jax_backend.output_layer import by_parts
from algoperf.spec import LossType

LossDict = dict[str, Any]


def loss(
    loss_type: LossType,
    labels: Any,
    logits: Any,
    mask: Any | None = None,
    label_smoothing: float = 0.0,
) -> LossDict:
    """`Workload.loss_fn` for `loss_type`: see the functions of this module."""
    if loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
        return softmax_cross_entropy(labels, logits, mask, label_smoothing)
    if loss_type is LossType.SIGMOID_CROSS_ENTROPY:
        return sigmoid_cross_entropy(labels, logits, mask, label_smoothing)
    if loss_type is LossType.MEAN_SQUARED_ERROR:
        return _regression(jnp.square, labels, logits, mask)
    if loss_type is LossType.MEAN_ABSOLUTE_ERROR:
        return _regression(jnp.abs, labels, logits, mask)
    return ctc_loss(labels, logits, mask)


def of_examples(per_example: Any, mask: Any | None) -> LossDict:
    """The loss that a model defines: its examples' losses, [batch, ...]."""
    per_example = _as_float(per_example)
    return _reduce(per_example, _expand(mask, per_example.shape))


def output_activation(loss_type: LossType, logits: Any) -> Any:
    """Probabilities or values: softmax (also for CTC), sigmoid or identity.

    For CTC `logits` may be the pair (logits, paddings); the paddings are handed on.
    """
    if loss_type is LossType.CTC_LOSS and isinstance(logits, tuple):
        scores, paddings = logits
        return jax.nn.softmax(scores, axis=-1), paddings
    if loss_type in (LossType.SOFTMAX_CROSS_ENTROPY, LossType.CTC_LOSS):
        return jax.nn.softmax(logits, axis=-1)
    if loss_type is LossType.SIGMOID_CROSS_ENTROPY:
        return jax.nn.sigmoid(logits)
    return logits


def softmax_cross_entropy(
    labels: Any, logits: Any, mask: Any | None = None, label_smoothing: float = 0.0
) -> LossDict:
    """per_example [batch, ...] from logits [batch, ..., classes].

    labels: class numbers int [batch, ...], or distributions [batch, ..., classes]
    (one-hot, mixed). Smoothing: y <- (1 - a) y + a / classes. Deferred logits are
    computed part by part where labels are class numbers.
    """
    labels = jnp.asarray(labels)
    if isinstance(logits, DeferredLogits) and labels.ndim < logits.ndim:
        return _by_parts(labels, logits, mask, label_smoothing)
    logits = _as_float(logits)
    shared.check_labels(labels.shape, logits.shape)
    mask = _expand(mask, logits.shape[:-1])
    logits = _where(mask, logits)
    if labels.ndim == logits.ndim:
        labels = _where(mask, _as_float(labels))
        if _is_used(label_smoothing):
            labels = shared.smooth_distributions(labels, label_smoothing)
        return _reduce(optax.softmax_cross_entropy(logits, labels), mask)
    labels = _where(mask, labels.astype(jnp.int32))
    per_example = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if _is_used(label_smoothing):
        # The same sum over classes, without a [batch, ..., classes] array of labels.
        uniform = jax.nn.logsumexp(logits, axis=-1) - logits.mean(axis=-1)
        per_example = (1 - label_smoothing) * per_example + label_smoothing * uniform
    return _reduce(per_example, mask)


def _by_parts(
    labels: jax.Array, logits: DeferredLogits, mask: Any | None, label_smoothing: float
) -> LossDict:
    """`softmax_cross_entropy` of deferred logits with class numbers."""
    shared.check_labels(labels.shape, logits.shape)
    mask = _expand(mask, labels.shape)
    is_counted = jnp.ones(labels.shape) if mask is None else mask != 0

    def losses(logits: jax.Array, labels: jax.Array, is_counted: jax.Array) -> Any:
        counted = softmax_cross_entropy(labels, logits, is_counted, label_smoothing)
        return counted["per_example"]

    return _reduce(by_parts(logits, losses, labels, is_counted), mask)


def sigmoid_cross_entropy(
    labels: Any, logits: Any, mask: Any | None = None, label_smoothing: float = 0.0
) -> LossDict:
    """per_example [batch, ...], elementwise, from labels and logits of that shape.

    labels: in [0, 1], NaN allowed where masked. Smoothing: y <- (1 - a) y + a / K with
    K the size of the last axis (the published formula of ogbg, for K tasks); K = 2 for
    one label per example.
    """
    logits, labels = _as_float(logits), _as_float(labels)
    shared.check_equal_shapes(labels.shape, logits.shape)
    mask = _expand(mask, logits.shape)
    logits, labels = _where(mask, logits), _where(mask, labels)
    if _is_used(label_smoothing):
        labels = shared.smooth_binary(labels, label_smoothing)
    return _reduce(optax.sigmoid_binary_cross_entropy(logits, labels), mask)


def _regression(
    error: Callable[[jax.Array], jax.Array], labels: Any, logits: Any, mask: Any | None
) -> LossDict:
    """per_example [batch]: mean of `error(logits - labels)` over the other axes."""
    logits, labels = _as_float(logits), _as_float(labels)
    shared.check_equal_shapes(labels.shape, logits.shape)
    mask = _expand(mask, logits.shape[:1])
    difference = _where(mask, logits) - _where(mask, labels)
    other_axes = tuple(range(1, difference.ndim))
    return _reduce(error(difference).mean(axis=other_axes), mask)


def ctc_loss(labels: Any, logits: Any, mask: Any | None = None) -> LossDict:
    """per_example [batch]: -log p(targets) of each utterance; blank 0.

    labels: (targets int [batch, n], paddings [batch, n]); logits: (scores [batch,
    frames, classes], paddings [batch, frames]). Paddings are 1 in padding, which is at
    the end; mask: [batch]. n_valid_examples is the number of target tokens, at least 1.
    An utterance whose targets do not fit into its frames has loss 0 and no tokens; how
    many there are is in the extra entry `n_infeasible`.
    """
    (targets, target_paddings), (scores, frame_paddings) = shared.ctc_parts(
        labels, logits
    )
    targets = jnp.asarray(targets)
    is_token = jnp.asarray(target_paddings) == 0
    is_frame = jnp.asarray(frame_paddings) == 0
    weights = _expand(mask, targets.shape[:1])
    if weights is None:
        weights = jnp.ones(targets.shape[:1], jnp.float32)
    is_frame &= (weights != 0)[:, None]
    is_token &= (weights != 0)[:, None]
    feasible = shared.ctc_frames_needed(targets, is_token) <= is_frame.sum(axis=-1)
    # optax picks label scores with a matrix product, which TF32 would round to 10 bits.
    with jax.default_matmul_precision("highest"):
        per_example = optax.ctc_loss(
            jnp.where(is_frame[..., None], _as_float(scores), 0.0),
            1.0 - is_frame.astype(jnp.float32),
            jnp.where(is_token, targets, 0),
            1.0 - is_token.astype(jnp.float32),
        )
    per_example = jnp.where(feasible, per_example, 0.0) * weights
    tokens = jnp.where(feasible, is_token.sum(axis=-1), 0) * weights
    return {
        "summed": per_example.sum(),
        "n_valid_examples": jnp.maximum(tokens.sum(), 1.0),
        "per_example": per_example,
        "n_infeasible": jnp.logical_not(feasible).sum(),
    }


def _reduce(per_example: jax.Array, mask: jax.Array | None) -> LossDict:
    if mask is None:
        count = jnp.asarray(per_example.size, jnp.float32)
    else:
        per_example = _where(mask, per_example) * mask
        count = mask.sum()
    return {
        "summed": per_example.sum(),
        "n_valid_examples": count,
        "per_example": per_example,
    }


def _is_used(label_smoothing: Any) -> bool:
    """Whether smoothing must be computed: always for a traced strength."""
    return not isinstance(label_smoothing, int | float) or label_smoothing != 0


def _as_float(x: Any) -> jax.Array:
    """As float32, or float64 where JAX runs in 64 bits."""
    values = jnp.asarray(x)
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _where(mask: jax.Array | None, x: jax.Array) -> jax.Array:
    """`x` with 0 where the mask is 0."""
    if mask is None:
        return x
    mask = shared.with_trailing_axes(mask, x.ndim)
    return jnp.where(mask != 0, x, jnp.zeros((), x.dtype))


def _expand(mask: Any | None, shape: tuple[int, ...]) -> jax.Array | None:
    """The mask as float, repeated along those last axes of `shape` that it lacks."""
    if mask is None:
        return None
    mask = _as_float(mask)
    shared.check_mask(mask.shape, shape)
    mask = shared.with_trailing_axes(mask, len(shape))
    return jnp.broadcast_to(mask, shape)
