"""The losses of both frameworks against the oracles, and the CTC oracle against enumeration."""

import itertools

import numpy as np
import pytest

from algoperf.errors import AlgoPerfError
from algoperf.spec import LossType
from tests import oracles_losses as oracles
from tests.closeness import FLOAT32_SHORT, as_numpy, assert_close

ORACLES = {
    LossType.SOFTMAX_CROSS_ENTROPY: oracles.softmax_cross_entropy,
    LossType.SIGMOID_CROSS_ENTROPY: oracles.sigmoid_cross_entropy,
    LossType.MEAN_SQUARED_ERROR: oracles.mean_squared_error,
    LossType.MEAN_ABSOLUTE_ERROR: oracles.mean_absolute_error,
    LossType.CTC_LOSS: oracles.ctc_loss,
}
DENSE = [loss_type for loss_type in ORACLES if loss_type is not LossType.CTC_LOSS]
RNG = np.random.default_rng(0)
MASK = np.array([1, 0, 1, 0.5], np.float32)


class InJax:
    """The losses of JAX: compiled, with gradients of the logits."""

    def __init__(self):
        self.jax = pytest.importorskip("jax")
        from algoperf.jax_backend import losses

        self.losses = losses
        self.compiled = self.jax.jit(losses.loss, static_argnums=(0, 4))
        self.bfloat16 = self.jax.numpy.bfloat16
        self.float32 = self.jax.numpy.float32

    def array(self, x, dtype=None):
        return self.jax.tree.map(lambda x: self.jax.numpy.asarray(x, dtype), x)

    def loss(self, *arguments):
        return self.compiled(*arguments)

    def gradient(self, summed, logits):
        """Of `summed(logits) -> (value, rest)`; and the rest."""
        return self.jax.jit(self.jax.grad(summed, has_aux=True))(logits)


class InPytorch:
    """The losses of PyTorch, with gradients of the logits."""

    def __init__(self):
        self.torch = pytest.importorskip("torch")
        from algoperf.pytorch_backend import losses

        self.losses = losses
        self.bfloat16, self.float32 = self.torch.bfloat16, self.torch.float32

    def array(self, x, dtype=None):
        if isinstance(x, tuple):
            return tuple(self.array(part, dtype) for part in x)
        return None if x is None else self.torch.tensor(x, dtype=dtype)

    def loss(self, loss_type, labels, logits, mask=None, smoothing=0.0):
        arrays = (self.array(x) for x in (labels, logits, mask))
        return self.losses.loss(loss_type, *arrays, smoothing)

    def gradient(self, summed, logits):
        """Of `summed(logits) -> (value, rest)`; and the rest."""
        logits = self.torch.tensor(logits, requires_grad=True)
        value, rest = summed(logits)
        value.backward()
        return logits.grad, rest


FRAMEWORKS = {"jax": InJax, "pytorch": InPytorch}
_made = {}


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    if request.param not in _made:
        _made[request.param] = FRAMEWORKS[request.param]()
    return _made[request.param]


def normal(*shape):
    return (3 * RNG.normal(size=shape)).astype(np.float32)


def distribution(*shape):
    return RNG.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


def assert_same(result, expected):
    assert set(result) == set(expected)
    for key, value in expected.items():
        assert_close(result[key], value, tolerance=FLOAT32_SHORT)


def assert_agrees(framework, loss_type, labels, logits, mask=None, smoothing=0.0):
    result = framework.loss(loss_type, labels, logits, mask, smoothing)
    assert_same(result, ORACLES[loss_type](labels, logits, mask, smoothing))
    return result


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize(
    "labels",
    [RNG.integers(0, 5, 4), RNG.integers(0, 5, 4, np.uint8), distribution(4, 5)],
)
def test_softmax_cross_entropy_equals_the_oracle(framework, labels, mask, smoothing):
    logits = normal(4, 5)
    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    assert_agrees(framework, loss_type, labels, logits, mask, smoothing)


@pytest.mark.parametrize("mask", [None, MASK, RNG.integers(0, 2, (4, 6))])
def test_softmax_cross_entropy_of_sequences_is_per_token(framework, mask):
    labels, logits = RNG.integers(0, 7, (4, 6)), normal(4, 6, 7)
    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    result = assert_agrees(framework, loss_type, labels, logits, mask, 0.1)
    assert result["per_example"].shape == (4, 6)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 6), (4, 2, 3)])
@pytest.mark.parametrize("masked", ["not", "examples", "elements"])
def test_sigmoid_cross_entropy_equals_the_oracle(framework, shape, masked, smoothing):
    labels = RNG.integers(0, 2, shape).astype(np.float32)
    elements = RNG.integers(0, 2, shape).astype(np.float32)
    mask = {"not": None, "examples": MASK, "elements": elements}[masked]
    loss_type = LossType.SIGMOID_CROSS_ENTROPY
    assert_agrees(framework, loss_type, labels, normal(*shape), mask, smoothing)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 5)])
@pytest.mark.parametrize(
    "loss_type", [LossType.MEAN_SQUARED_ERROR, LossType.MEAN_ABSOLUTE_ERROR]
)
def test_regression_losses_are_means_over_the_other_axes(
    framework, loss_type, shape, mask
):
    assert_agrees(framework, loss_type, normal(*shape), normal(*shape), mask, 0.4)


def test_a_mask_over_examples_weights_each_of_their_tokens(framework):
    mask = np.array([1.0, 0, 1])
    labels, logits = RNG.integers(0, 5, (3, 4)), normal(3, 4, 5)
    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    result = assert_agrees(framework, loss_type, labels, logits, mask)
    assert result["n_valid_examples"] == 8


@pytest.mark.parametrize("mask", [None, MASK])
def test_whole_numbers_are_labels_of_the_elementwise_losses(framework, mask):
    labels, logits = RNG.integers(0, 2, (4, 3)), normal(4, 3)
    for loss_type in DENSE[1:]:
        result = framework.loss(loss_type, labels, logits, mask, 0.1)
        as_floats = framework.loss(
            loss_type, labels.astype(np.float32), logits, mask, 0.1
        )
        assert_same(result, {k: as_numpy(v) for k, v in as_floats.items()})


@pytest.mark.parametrize("loss_type", DENSE)
def test_nan_where_masked_reaches_neither_loss_nor_gradient(framework, loss_type):
    labels, logits = distribution(4, 5), normal(4, 5)
    labels[1], logits[1] = np.nan, np.inf
    labels, mask = framework.array((labels, MASK))

    def summed(z):
        result = framework.losses.loss(loss_type, labels, z, mask, 0.1)
        return result["summed"], (result["summed"], result["per_example"])

    gradient, (value, per_example) = framework.gradient(summed, logits)
    assert np.isfinite(as_numpy(value))
    assert np.all(as_numpy(per_example[1]) == 0)
    gradient = as_numpy(gradient)
    assert np.isfinite(gradient).all()
    assert np.all(gradient[1] == 0) and np.any(gradient[0] != 0)


def test_masked_class_numbers_may_be_out_of_range(framework):
    labels = np.array([1, -1, 2, 0])
    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    result = framework.loss(loss_type, labels, normal(4, 5), MASK)
    assert result["per_example"][1] == 0


@pytest.mark.parametrize("value", [1e4, -1e4, 0.0])
def test_sigmoid_cross_entropy_is_exact_for_huge_logits(framework, value):
    labels, logits = np.array([0.0, 1.0]), np.full(2, value)
    assert_agrees(framework, LossType.SIGMOID_CROSS_ENTROPY, labels, logits)


def test_losses_of_bfloat16_logits_are_computed_in_float32(framework):
    labels = framework.array(np.array([0, 1, 2, 3]))
    logits = framework.array(normal(4, 5), framework.bfloat16)
    of = framework.losses.loss
    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    result = of(loss_type, labels, logits)
    expected = of(loss_type, labels, framework.array(as_numpy(logits).astype("f4")))
    assert result["per_example"].dtype == framework.float32
    np.testing.assert_array_equal(result["per_example"], expected["per_example"])


def test_smoothing_may_be_an_array(framework):
    labels, logits = framework.array((RNG.integers(0, 5, 4), normal(4, 5)))
    of = framework.losses.loss
    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    for strength in (0.0, 0.1):
        smoothing = framework.array(np.float32(strength))
        result = of(loss_type, labels, logits, None, smoothing)
        arrays = as_numpy(labels).astype(int), as_numpy(logits)
        assert_same(result, ORACLES[loss_type](*arrays, None, strength))


def test_smoothing_may_be_traced_in_jax():
    jax, losses = pytest.importorskip("jax"), InJax().losses
    labels, logits = RNG.integers(0, 5, 4), normal(4, 5)
    loss_type = LossType.SOFTMAX_CROSS_ENTROPY
    compiled = jax.jit(lambda a: losses.loss(loss_type, labels, logits, None, a))
    for smoothing in (0.0, 0.1):
        expected = ORACLES[loss_type](labels, logits, None, smoothing)
        assert_same(compiled(smoothing), expected)


@pytest.mark.parametrize("loss_type", DENSE)
def test_gradients_equal_finite_differences(loss_type):
    torch, losses = pytest.importorskip("torch"), InPytorch().losses
    labels = torch.tensor(distribution(4, 5), dtype=torch.float64)
    logits = torch.tensor(normal(4, 5), dtype=torch.float64, requires_grad=True)
    mask = torch.tensor(MASK, dtype=torch.float64)

    def summed(scores):
        return losses.loss(loss_type, labels, scores, mask)["summed"]

    assert torch.autograd.gradcheck(summed, logits)


@pytest.mark.parametrize(
    ("loss_type", "labels", "logits", "mask"),
    [
        (LossType.SIGMOID_CROSS_ENTROPY, (4,), (4, 1), None),
        (LossType.SIGMOID_CROSS_ENTROPY, (4, 1), (4,), None),
        (LossType.MEAN_SQUARED_ERROR, (4,), (4, 1), None),
        (LossType.MEAN_ABSOLUTE_ERROR, (4, 1), (4,), None),
        (LossType.SOFTMAX_CROSS_ENTROPY, (4, 1), (4, 3), None),
        (LossType.SOFTMAX_CROSS_ENTROPY, (4,), (4, 3), (3,)),
        (LossType.SIGMOID_CROSS_ENTROPY, (4,), (4,), (4, 1)),
        (LossType.SIGMOID_CROSS_ENTROPY, (4, 3), (4, 3), (3,)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(
    framework, loss_type, labels, logits, mask
):
    mask = None if mask is None else np.ones(mask)
    with pytest.raises(AlgoPerfError, match=r"shape \(\d"):
        framework.loss(loss_type, np.zeros(labels, int), np.zeros(logits), mask)


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
    framework, targets, paddings, scores, frames
):
    labels = np.ones(targets), np.ones(paddings)
    logits = np.ones(scores), np.ones(frames)
    with pytest.raises(AlgoPerfError, match=r"targets of shape \(4,.* scores of shape"):
        framework.loss(LossType.CTC_LOSS, labels, logits)


@pytest.mark.parametrize("labels", [np.ones((4, 3)), (np.ones((4, 3)),) * 3])
def test_ctc_without_paddings_is_refused(framework, labels):
    logits = np.ones((4, 6, 5)), np.ones((4, 6))
    with pytest.raises(AlgoPerfError, match="pair"):
        framework.loss(LossType.CTC_LOSS, labels, logits)


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
def test_without_a_mask_every_loss_counts(framework, loss_type, labels, logits, count):
    labels, logits = np.zeros(labels), np.ones(logits)
    result = framework.loss(loss_type, labels, logits)
    assert result["n_valid_examples"] == count
    masked = framework.loss(loss_type, labels, logits, np.ones(3))
    assert masked["n_valid_examples"] == count


def test_a_loss_that_a_model_defines_is_no_loss_of_the_harness(framework):
    labels, logits = framework.array((normal(4), normal(4)))
    with pytest.raises(AlgoPerfError, match="MODEL_DEFINED: the workload defines it"):
        framework.losses.loss(LossType.MODEL_DEFINED, labels, logits)


@pytest.mark.parametrize("mask", [None, MASK])
def test_a_models_own_losses_are_masked_and_summed(framework, mask):
    losses = normal(4, 3)
    if mask is not None:
        losses[1] = np.nan
    arrays = framework.array((losses, mask))
    result = framework.losses.of_examples(*arrays)
    weights = np.ones((4, 3)) if mask is None else np.repeat(mask[:, None], 3, 1)
    expected = np.where(weights == 0, 0, losses) * weights
    assert_close(result["per_example"], expected, tolerance=FLOAT32_SHORT)
    assert_close(result["summed"], expected.sum(), tolerance=FLOAT32_SHORT)
    assert result["n_valid_examples"] == weights.sum()


def utterances():
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


@pytest.mark.parametrize("mask", [None, np.array([1.0, 0, 1, 1, 0.5])])
def test_ctc_equals_the_oracle(framework, mask):
    labels, logits = utterances()
    assert_agrees(framework, LossType.CTC_LOSS, labels, logits, mask, 0.1)


def test_an_infeasible_utterance_is_counted_and_has_no_loss_tokens_or_gradient(
    framework,
):
    labels, (scores, paddings) = utterances()
    labels, paddings = framework.array((labels, paddings))

    def summed(z):
        result = framework.losses.loss(LossType.CTC_LOSS, labels, (z, paddings))
        return result["summed"], result

    gradient, result = framework.gradient(summed, scores)
    assert result["n_infeasible"] == 1
    assert result["n_valid_examples"] == 2 + 3
    assert result["per_example"][3] == 0
    gradient = as_numpy(gradient)
    assert np.isfinite(gradient).all()
    assert np.all(gradient[3] == 0) and np.any(gradient[0] != 0)


def test_an_utterance_without_frames_has_no_ctc_loss(framework):
    labels, (scores, paddings) = utterances()
    result = framework.loss(LossType.CTC_LOSS, labels, (scores, paddings))
    assert result["per_example"][4] == 0
    labels[1][0], paddings[0] = 1, 1
    assert_agrees(framework, LossType.CTC_LOSS, labels, (scores, paddings))


def test_ctc_ignores_nan_in_padding_and_in_masked_utterances(framework):
    labels, (scores, paddings) = utterances()
    mask = np.array([1, 1, 1, 1, 0])
    expected = oracles.ctc_loss(labels, (scores, paddings), mask)
    scores[0, 5:] = np.nan
    scores[4] = np.nan
    result = framework.loss(LossType.CTC_LOSS, labels, (scores, paddings), mask, 0.1)
    assert_same(result, expected)


def test_ctc_without_tokens_divides_by_one(framework):
    labels = np.zeros((2, 3), int), np.ones((2, 3))
    logits = normal(2, 4, 5), np.zeros((2, 4))
    result = framework.loss(LossType.CTC_LOSS, labels, logits)
    assert result["n_valid_examples"] == 1


def test_ctc_gradients_equal_finite_differences():
    torch, losses = pytest.importorskip("torch"), InPytorch()
    labels, (scores, paddings) = utterances()
    labels, paddings = losses.array((labels, paddings))
    scores = torch.tensor(scores, dtype=torch.float64, requires_grad=True)

    def summed(z):
        return losses.losses.loss(LossType.CTC_LOSS, labels, (z, paddings))["summed"]

    assert torch.autograd.gradcheck(summed, scores)


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


def test_output_activations_follow_the_loss_type(framework):
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
        result = framework.losses.output_activation(loss_type, framework.array(z))
        assert_close(result, values, tolerance=FLOAT32_SHORT)


def test_the_ctc_activation_hands_on_paddings(framework):
    scores, paddings = framework.array((normal(1, 2, 3), np.zeros((1, 2))))
    probabilities, same = framework.losses.output_activation(
        LossType.CTC_LOSS, (scores, paddings)
    )
    assert_close(probabilities.sum(-1), np.ones((1, 2)), tolerance=FLOAT32_SHORT)
    assert same is paddings
