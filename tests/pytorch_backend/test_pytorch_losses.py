"""The PyTorch losses against the oracles, and their gradients."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from algoperf.errors import AlgoPerfError  # noqa: E402
from algoperf.pytorch_backend import losses  # noqa: E402
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
DENSE = [loss_type for loss_type in LossType if loss_type is not LossType.CTC_LOSS]
RNG = np.random.default_rng(0)


def normal(*shape):
    return (3 * RNG.normal(size=shape)).astype(np.float32)


def distribution(*shape):
    return RNG.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


def tensors(value):
    if isinstance(value, tuple):
        return tuple(tensors(part) for part in value)
    return None if value is None else torch.tensor(value)


def check(loss_type, labels, logits, mask=None, smoothing=0.0):
    """Asserts that the loss equals the oracle, with the oracle's keys."""
    result = losses.loss(
        loss_type, tensors(labels), tensors(logits), tensors(mask), smoothing
    )
    expected = ORACLES[loss_type](labels, logits, mask, smoothing)
    assert set(result) == set(expected)
    for name, value in expected.items():
        assert_close(result[name], value, tolerance=FLOAT32_SHORT)
    return result


MASK = np.array([1, 0, 1, 0.5], np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize(
    "labels",
    [RNG.integers(0, 5, 4), RNG.integers(0, 5, 4, np.int32), distribution(4, 5)],
)
def test_softmax_cross_entropy_equals_the_oracle(labels, mask, smoothing):
    check(LossType.SOFTMAX_CROSS_ENTROPY, labels, normal(4, 5), mask, smoothing)


@pytest.mark.parametrize("mask", [None, MASK, RNG.integers(0, 2, (4, 6))])
def test_softmax_cross_entropy_of_sequences_is_per_token(mask):
    labels = RNG.integers(0, 5, (4, 6))
    result = check(LossType.SOFTMAX_CROSS_ENTROPY, labels, normal(4, 6, 5), mask, 0.1)
    assert result["per_example"].shape == (4, 6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 7)])
@pytest.mark.parametrize("mask", [None, MASK])
def test_sigmoid_cross_entropy_equals_the_oracle(shape, mask, smoothing):
    labels = RNG.integers(0, 2, shape).astype(np.float32)
    check(LossType.SIGMOID_CROSS_ENTROPY, labels, normal(*shape), mask, smoothing)


@pytest.mark.parametrize(
    "loss_type", [LossType.MEAN_SQUARED_ERROR, LossType.MEAN_ABSOLUTE_ERROR]
)
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2)])
@pytest.mark.parametrize("mask", [None, MASK])
def test_regression_losses_are_means_over_the_other_axes(loss_type, shape, mask):
    check(loss_type, normal(*shape), normal(*shape), mask)


@pytest.mark.parametrize("loss_type", DENSE)
def test_nan_where_masked_reaches_neither_loss_nor_gradient(loss_type):
    labels, logits = distribution(4, 5), normal(4, 5)
    labels[1], logits[1] = np.nan, np.inf
    scores = torch.tensor(logits, requires_grad=True)
    result = losses.loss(loss_type, torch.tensor(labels), scores, torch.tensor(MASK))
    result["summed"].backward()
    assert result["summed"].isfinite()
    assert torch.equal(scores.grad[1], torch.zeros(5))
    assert scores.grad.isfinite().all()


def test_masked_class_numbers_may_be_out_of_range():
    labels = torch.tensor([1, -1, 2, 0])
    result = losses.loss(
        LossType.SOFTMAX_CROSS_ENTROPY,
        labels,
        torch.tensor(normal(4, 5)),
        torch.tensor(MASK),
    )
    assert result["per_example"][1] == 0


@pytest.mark.parametrize("loss_type", DENSE)
def test_gradients_equal_finite_differences(loss_type):
    labels = torch.tensor(distribution(4, 5), dtype=torch.float64)
    logits = torch.tensor(normal(4, 5), dtype=torch.float64, requires_grad=True)
    mask = torch.tensor(MASK, dtype=torch.float64)

    def summed(scores):
        return losses.loss(loss_type, labels, scores, mask)["summed"]

    assert torch.autograd.gradcheck(summed, logits)


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_sigmoid_cross_entropy_is_exact_for_huge_logits(value):
    logits = torch.full((1, 2), value)
    labels = torch.tensor([[0.0, 1.0]])
    result = losses.sigmoid_cross_entropy(labels, logits)
    assert result["summed"] == 1e4


def test_losses_of_bfloat16_logits_are_computed_in_float32():
    logits = torch.tensor(normal(4, 5)).bfloat16()
    labels = torch.tensor([0, 1, 2, 3])
    result = losses.softmax_cross_entropy(labels, logits)
    expected = losses.softmax_cross_entropy(labels, logits.float())
    assert result["per_example"].dtype == torch.float32
    assert torch.equal(result["per_example"], expected["per_example"])


@pytest.mark.parametrize(
    ("loss_type", "labels", "logits", "mask"),
    [
        (LossType.SIGMOID_CROSS_ENTROPY, (4, 1), (4,), None),
        (LossType.MEAN_SQUARED_ERROR, (4,), (4, 1), None),
        (LossType.SOFTMAX_CROSS_ENTROPY, (4, 1), (4, 3), None),
        (LossType.SIGMOID_CROSS_ENTROPY, (4,), (4,), (4, 1)),
        (LossType.SIGMOID_CROSS_ENTROPY, (4, 3), (4, 3), (3,)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(loss_type, labels, logits, mask):
    mask = None if mask is None else torch.ones(mask)
    with pytest.raises(AlgoPerfError, match="shape"):
        losses.loss(loss_type, torch.ones(labels), torch.ones(logits), mask)


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
        (torch.ones(targets), torch.ones(paddings)),
        (torch.ones(scores), torch.ones(frames)),
    )
    with pytest.raises(AlgoPerfError, match=r"targets of shape \(4,.* scores of shape"):
        losses.loss(LossType.CTC_LOSS, labels, logits)


@pytest.mark.parametrize("labels", [torch.ones((4, 3)), (torch.ones((4, 3)),) * 3])
def test_ctc_without_paddings_is_refused(labels):
    logits = torch.ones((4, 6, 5)), torch.ones((4, 6))
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
    result = losses.loss(loss_type, 0 * torch.ones(labels), torch.ones(logits))
    assert result["n_valid_examples"] == count
    masked = losses.loss(
        loss_type, 0 * torch.ones(labels), torch.ones(logits), torch.ones(3)
    )
    assert masked["n_valid_examples"] == count


def utterances():
    """Four utterances: ordinary, with repeats, without tokens, too long for its frames."""
    targets = np.array([[1, 2, 3], [2, 2, 0], [0, 0, 0], [1, 1, 1]])
    target_paddings = np.array([[0, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], np.float32)
    frame_paddings = np.zeros((4, 6), np.float32)
    frame_paddings[1, 4:] = frame_paddings[3, 4:] = 1
    return (targets, target_paddings), (normal(4, 6, 5), frame_paddings)


@pytest.mark.parametrize("mask", [None, MASK, np.array([0, 1, 1, 0], np.float32)])
def test_ctc_equals_the_oracle(mask):
    check(LossType.CTC_LOSS, *utterances(), mask=mask)


def test_an_infeasible_utterance_is_counted_and_has_no_loss_tokens_or_gradient():
    labels, (scores, paddings) = utterances()
    scores = torch.tensor(scores, requires_grad=True)
    result = losses.ctc_loss(tensors(labels), (scores, torch.tensor(paddings)))
    result["summed"].backward()
    assert result["n_infeasible"] == 1
    assert result["n_valid_examples"] == 5
    assert result["per_example"][3] == 0
    assert torch.equal(scores.grad[3], torch.zeros(6, 5))
    assert scores.grad.isfinite().all()


def test_padding_rows_without_frames_have_no_ctc_loss():
    labels, (scores, paddings) = utterances()
    labels[1][0], paddings[0] = 1, 1
    check(LossType.CTC_LOSS, labels, (scores, paddings))


def test_padded_frames_do_not_change_ctc_even_if_nan():
    labels, (scores, paddings) = utterances()
    expected = losses.ctc_loss(tensors(labels), tensors((scores, paddings)))
    scores[paddings == 1] = np.nan
    result = losses.ctc_loss(tensors(labels), tensors((scores, paddings)))
    assert torch.equal(result["per_example"], expected["per_example"])


def test_ctc_gradients_equal_finite_differences():
    labels, (scores, paddings) = utterances()
    scores = torch.tensor(scores, dtype=torch.float64, requires_grad=True)

    def summed(scores):
        logits = scores, torch.tensor(paddings)
        return losses.ctc_loss(tensors(labels), logits)["summed"]

    assert torch.autograd.gradcheck(summed, scores)


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        (LossType.SOFTMAX_CROSS_ENTROPY, lambda z: torch.softmax(z, -1)),
        (LossType.SIGMOID_CROSS_ENTROPY, torch.sigmoid),
        (LossType.MEAN_SQUARED_ERROR, lambda z: z),
        (LossType.MEAN_ABSOLUTE_ERROR, lambda z: z),
    ],
)
def test_output_activation_follows_the_loss_type(loss_type, expected):
    logits = torch.tensor(normal(4, 5))
    assert torch.equal(losses.output_activation(loss_type, logits), expected(logits))


def test_output_activation_of_ctc_hands_the_paddings_on():
    logits, paddings = torch.tensor(normal(2, 3, 4)), torch.zeros(2, 3)
    probabilities, same = losses.output_activation(
        LossType.CTC_LOSS, (logits, paddings)
    )
    assert torch.equal(probabilities, torch.softmax(logits, -1))
    assert same is paddings
