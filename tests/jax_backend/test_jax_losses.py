"""The JAX losses against the oracles, and the CTC oracle against enumeration."""

import itertools

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from algoperf.errors import AlgoPerfError  # noqa: E402
from algoperf.jax_backend import losses  # noqa: E402
from algoperf.spec import LossType  # noqa: E402
from tests import oracles_losses as oracles  # noqa: E402
from tests.closeness import FLOAT32_SHORT, assert_close  # noqa: E402

ORACLES = {
    LossType.SOFTMAX_CROSS_ENTROPY: oracles.softmax_cross_entropy,
    LossType.SIGMOID_CROSS_ENTROPY: oracles.sigmoid_cross_entropy,
    LossType.MEAN_SQUARED_ERROR: oracles.mean_squared_error,
    LossType.MEAN_ABSOLUTE_ERROR: oracles.mean_absolute_error,
    LossType.CTC_LOSS: oracles.ctc_loss,
}
RNG = np.random.default_rng(0)
compiled_loss = jax.jit(losses.loss, static_argnums=(0, 4))


def normal(*shape):
    return (3 * RNG.normal(size=shape)).astype(np.float32)


def distribution(*shape):
    return RNG.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


def assert_same(result, expected):
    assert set(result) == set(expected)
    for key, value in expected.items():
        assert_close(result[key], value, tolerance=FLOAT32_SHORT)


def assert_agrees(loss_type, labels, logits, mask=None, smoothing=0.0):
    result = compiled_loss(loss_type, labels, logits, mask, smoothing)
    assert_same(result, ORACLES[loss_type](labels, logits, mask, smoothing))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("mask", [None, np.array([1, 0, 0.5, 1, 0])])
@pytest.mark.parametrize("kind", ["integers", "distributions"])
def test_softmax_cross_entropy_equals_the_oracle(kind, mask, smoothing):
    integers = RNG.integers(0, 7, 5)
    labels = integers if kind == "integers" else distribution(5, 7)
    assert_agrees(LossType.SOFTMAX_CROSS_ENTROPY, labels, normal(5, 7), mask, smoothing)


@pytest.mark.parametrize("mask", [None, RNG.integers(0, 2, (4, 6))])
def test_softmax_cross_entropy_of_sequences_is_per_token(mask):
    labels, logits = RNG.integers(0, 7, (4, 6)), normal(4, 6, 7)
    assert_agrees(LossType.SOFTMAX_CROSS_ENTROPY, labels, logits, mask, 0.1)
    result = losses.softmax_cross_entropy(labels, logits, mask)
    assert result["per_example"].shape == (4, 6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 6), (3, 2, 4)])
def test_sigmoid_cross_entropy_equals_the_oracle(shape, smoothing):
    labels = RNG.integers(0, 2, shape).astype(np.float32)
    mask = RNG.integers(0, 2, shape).astype(np.float32)
    for weights in (None, mask):
        assert_agrees(
            LossType.SIGMOID_CROSS_ENTROPY, labels, normal(*shape), weights, smoothing
        )


@pytest.mark.parametrize("mask", [None, np.array([1.0, 0, 1, 0.5])])
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 5)])
@pytest.mark.parametrize(
    "loss_type", [LossType.MEAN_SQUARED_ERROR, LossType.MEAN_ABSOLUTE_ERROR]
)
def test_regression_losses_equal_the_oracle(loss_type, shape, mask):
    assert_agrees(loss_type, normal(*shape), normal(*shape), mask, 0.4)


def test_a_mask_over_examples_weights_each_of_their_tokens():
    mask = np.array([1.0, 0, 1])
    labels, logits = RNG.integers(0, 5, (3, 4)), normal(3, 4, 5)
    assert_agrees(LossType.SOFTMAX_CROSS_ENTROPY, labels, logits, mask)
    count = losses.softmax_cross_entropy(labels, logits, mask)["n_valid_examples"]
    assert count == 8


def poisoned(loss_type):
    """Labels, logits [4, ...] and a mask: row 1 is NaN or infinite, and masked."""
    shape = (4, 3)
    if loss_type is LossType.SOFTMAX_CROSS_ENTROPY:
        labels, logits = distribution(*shape), normal(*shape)
    else:
        labels = RNG.integers(0, 2, shape).astype(np.float32)
        logits = normal(*shape)
    labels[1], logits[1] = np.nan, np.inf
    mask = np.array([1.0, 0, 1, 1], np.float32)
    if loss_type is LossType.SIGMOID_CROSS_ENTROPY:
        mask = np.repeat(mask[:, None], 3, axis=1)
    return labels, logits, mask


NOT_CTC = [loss_type for loss_type in LossType if loss_type is not LossType.CTC_LOSS]


@pytest.mark.parametrize("loss_type", NOT_CTC)
def test_nan_where_masked_reaches_neither_loss_nor_gradient(loss_type):
    labels, logits, mask = poisoned(loss_type)

    def summed(z):
        result = losses.loss(loss_type, labels, z, mask, 0.1)
        return result["summed"], result["per_example"]

    (value, per_example), gradient = jax.jit(jax.value_and_grad(summed, has_aux=True))(
        logits
    )
    assert np.isfinite(value)
    assert np.all(per_example[1] == 0)
    assert np.isfinite(gradient).all()
    assert np.all(gradient[1] == 0) and np.any(gradient[0] != 0)


@pytest.mark.parametrize("value", [1e4, -1e4, 0.0])
def test_sigmoid_cross_entropy_is_exact_for_huge_logits(value):
    labels = np.array([0.0, 1.0])
    assert_agrees(LossType.SIGMOID_CROSS_ENTROPY, labels, np.full(2, value))


def test_losses_of_bfloat16_logits_are_computed_in_float32():
    logits = jnp.asarray(normal(4, 5), jnp.bfloat16)
    labels = np.array([0, 1, 2, 3])
    result = losses.softmax_cross_entropy(labels, logits)
    assert result["per_example"].dtype == jnp.float32
    expected = oracles.softmax_cross_entropy(labels, np.asarray(logits, np.float64))
    assert_same(result, expected)


def test_smoothing_may_be_traced():
    labels, logits = RNG.integers(0, 5, 4), normal(4, 5)
    compiled = jax.jit(lambda a: losses.softmax_cross_entropy(labels, logits, None, a))
    for smoothing in (0.0, 0.1):
        expected = oracles.softmax_cross_entropy(labels, logits, None, smoothing)
        assert_same(compiled(smoothing), expected)


@pytest.mark.parametrize(
    ("loss_type", "labels", "logits", "mask"),
    [
        (LossType.SIGMOID_CROSS_ENTROPY, np.zeros(4), np.zeros((4, 1)), None),
        (LossType.MEAN_SQUARED_ERROR, np.zeros(4), np.zeros((4, 1)), None),
        (LossType.SOFTMAX_CROSS_ENTROPY, np.zeros((4, 1), int), np.zeros((4, 3)), None),
        (
            LossType.SOFTMAX_CROSS_ENTROPY,
            np.zeros(4, int),
            np.zeros((4, 3)),
            np.ones(3),
        ),
    ],
)
def test_shapes_that_would_broadcast_are_refused(loss_type, labels, logits, mask):
    with pytest.raises(AlgoPerfError, match=r"shape \(\d"):
        losses.loss(loss_type, labels, logits, mask)


@pytest.mark.parametrize(
    ("targets", "paddings", "scores", "frames"),
    [
        ((4, 3), (4, 1), (4, 6, 5), (4, 6)),
        ((4, 3), (4, 3), (4, 6, 5), (4, 1)),
        ((4, 3), (4, 3), (1, 6, 5), (1, 6)),
        ((4,), (4,), (4, 6, 5), (4, 6)),
        ((4, 3), (4, 3), (4, 5), (4, 5)),
    ],
)
def test_shapes_of_ctc_that_would_broadcast_are_refused(
    targets, paddings, scores, frames
):
    labels, logits = (
        (np.ones(targets), np.ones(paddings)),
        (np.ones(scores), np.ones(frames)),
    )
    with pytest.raises(AlgoPerfError, match=r"targets of shape \(4,.* scores of shape"):
        losses.loss(LossType.CTC_LOSS, labels, logits)


@pytest.mark.parametrize("labels", [np.ones((4, 3)), (np.ones((4, 3)),) * 3])
def test_ctc_without_paddings_is_refused(labels):
    logits = np.ones((4, 6, 5)), np.ones((4, 6))
    with pytest.raises(AlgoPerfError, match="pair"):
        losses.loss(LossType.CTC_LOSS, labels, logits)


@pytest.mark.parametrize(
    ("loss_type", "labels", "logits", "count"),
    [
        (LossType.SOFTMAX_CROSS_ENTROPY, (3, 4), (3, 4, 5), 12),  # tokens
        (LossType.SOFTMAX_CROSS_ENTROPY, (3, 4, 5), (3, 4, 5), 12),
        (LossType.SIGMOID_CROSS_ENTROPY, (3, 4), (3, 4), 12),  # labels
        (LossType.SIGMOID_CROSS_ENTROPY, (3,), (3,), 3),
        (LossType.MEAN_ABSOLUTE_ERROR, (3, 4, 5), (3, 4, 5), 3),  # images
    ],
)
def test_without_a_mask_every_loss_counts(loss_type, labels, logits, count):
    result = losses.loss(loss_type, 0 * np.ones(labels), np.ones(logits))
    assert result["n_valid_examples"] == count
    masked = losses.loss(loss_type, 0 * np.ones(labels), np.ones(logits), np.ones(3))
    assert masked["n_valid_examples"] == count


def ctc_batch():
    """Utterances: plain, repeated tokens that just fit, empty, too long, no frames."""
    scores = normal(5, 6, 4)
    targets = np.array([[1, 2, 3], [2, 2, 2], [0, 0, 0], [1, 1, 2], [0, 0, 0]])
    target_paddings = np.array(
        [[0, 0, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 1]], np.float32
    )
    frame_paddings = np.zeros((5, 6), np.float32)
    frame_paddings[0, 5:] = 1
    frame_paddings[1, 5:] = 1  # 3 tokens and 2 blanks between them
    frame_paddings[3, 3:] = 1  # one frame short, because of the repeated token
    frame_paddings[4] = 1
    return (targets, target_paddings), (scores, frame_paddings)


@pytest.mark.parametrize("mask", [None, np.array([1.0, 0, 1, 1, 1])])
def test_ctc_equals_the_oracle(mask):
    labels, logits = ctc_batch()
    assert_agrees(LossType.CTC_LOSS, labels, logits, mask, 0.1)


def test_an_infeasible_utterance_is_counted_and_has_no_loss_tokens_or_gradient():
    labels, (scores, paddings) = ctc_batch()

    def summed(z):
        result = losses.ctc_loss(labels, (z, paddings))
        return result["summed"], result

    gradient, result = jax.jit(jax.grad(summed, has_aux=True))(scores)
    assert result["n_infeasible"] == 1
    assert result["n_valid_examples"] == 2 + 3
    assert result["per_example"][3] == 0
    assert np.isfinite(gradient).all()
    assert np.all(gradient[3] == 0) and np.any(gradient[0] != 0)


def test_ctc_ignores_nan_in_padding_and_in_masked_utterances():
    labels, (scores, paddings) = ctc_batch()
    expected = oracles.ctc_loss(labels, (scores, paddings), np.array([1, 1, 1, 1, 0]))
    scores[0, 5:] = np.nan
    scores[4] = np.nan
    mask = np.array([1, 1, 1, 1, 0])
    result = compiled_loss(LossType.CTC_LOSS, labels, (scores, paddings), mask, 0.1)
    assert_same(result, expected)


def test_ctc_without_tokens_divides_by_one():
    labels = (np.zeros((2, 3), int), np.ones((2, 3)))
    logits = (normal(2, 4, 5), np.zeros((2, 4)))
    result = jax.jit(losses.ctc_loss)(labels, logits)
    assert result["n_valid_examples"] == 1


@pytest.mark.parametrize("tokens", [[], [1], [1, 1], [1, 2], [2, 1, 2], [1, 1, 1]])
def test_the_ctc_oracle_equals_the_sum_over_all_paths(tokens):
    scores = RNG.normal(size=(4, 3))
    log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        if [k for k, _ in itertools.groupby(path) if k] == tokens:
            total += np.exp(sum(log_probs[t, k] for t, k in enumerate(path)))
    with np.errstate(divide="ignore"):
        expected = np.log(total)
    assert oracles.ctc_log_likelihood(log_probs, tokens) == pytest.approx(expected)


def test_output_activations_follow_the_loss_type():
    z = normal(2, 3)
    softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    expected = {
        LossType.SOFTMAX_CROSS_ENTROPY: softmax,
        LossType.CTC_LOSS: softmax,
        LossType.SIGMOID_CROSS_ENTROPY: 1 / (1 + np.exp(-z)),
        LossType.MEAN_SQUARED_ERROR: z,
        LossType.MEAN_ABSOLUTE_ERROR: z,
    }
    for loss_type, values in expected.items():
        result = losses.output_activation(loss_type, z)
        assert_close(result, values, tolerance=FLOAT32_SHORT)


def test_the_ctc_activation_hands_on_paddings():
    paddings = np.zeros((1, 2))
    probabilities, same = losses.output_activation(
        LossType.CTC_LOSS, (normal(1, 2, 3), paddings)
    )
    assert_close(probabilities.sum(axis=-1), np.ones((1, 2)), tolerance=FLOAT32_SHORT)
    assert same is paddings
