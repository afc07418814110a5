"""Derivatives for instruments: exact on every mini workload, and equal in both frameworks."""

import both_frameworks as both
import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import registry, spec
from algoperf.histograms import GRADIENT_1D, GRADIENT_2D, PARAMETER_2D
from algoperf.probe import NotMeasurable, Objective, Sample, Wanted
from algoperf.runner.randomness import key_numbers

WORKLOADS = [n for n, d in registry.definitions().items() if d.tier == "mini"]
PACKAGES = {"jax": "flax", "pytorch": "torch"}
BATCH_SIZE, LARGER = 4, {"ogbg": 16}  # has room for the largest graph
# XLA takes up to two minutes to compile all derivatives of the others.
QUICK_IN_JAX = {"mnist_mini"}
# Batch norm couples examples; graphs lie in arrays of nodes.
ONE_BY_ONE = {
    "imagenet_resnet_mini",
    "librispeech_conformer_mini",
    "librispeech_deepspeech_mini",
    "ogbg_mini",
}
CLOSE = 2e-4  # of float32 sums, relative
# Of finite differences, relative to the direction; the conformer's slopes have less digits.
STEPS = {"librispeech_conformer_mini": 3e-2}


def cases(*frameworks):
    return [
        pytest.param(
            name,
            framework,
            marks=[]
            if framework == "pytorch" or name in QUICK_IN_JAX
            else pytest.mark.slow,
        )
        for name in WORKLOADS
        for framework in frameworks
    ]


each = pytest.mark.parametrize(("name", "framework"), cases(*PACKAGES))


class Probed:
    """A workload with fixed weights, a batch and a direction, probed in one framework."""

    def __init__(self, name, framework, definition, data_dir, weights=None):
        """weights: the parameters, by name; the framework's initial ones, moved, if None."""
        pytest.importorskip(PACKAGES[framework])
        self.backend = backends.load(framework)
        self.workload = both.bound(definition, self.backend)
        key = self.backend.keys(key_numbers(0, "init"))[0]
        self.params, self.state = self.workload.init_model_fn(key)
        random = np.random.default_rng(0)

        def noise(array):
            return np.asarray(random.standard_normal(array.shape), np.float32)

        initial = arrays_of(self.params)
        # Away from zeros, whose gradients vanish.
        moved = {n: a + np.float32(0.05) * noise(a) for n, a in initial.items()}
        self.weights = moved if weights is None else weights
        self.params = with_values(self.params, self.weights)
        size = LARGER.get(definition.folder, BATCH_SIZE)
        batches = both.batches(definition, data_dir, "train", batch_size=size)
        self.batch = self.backend.place(batches.batch(0))
        self.key = self.backend.keys(key_numbers(0, "contract"))[0]
        self.probe = self.backend.probe(Objective(self.workload))
        self.point = self.probe.copy(self.params, self.state)
        self.sample = Sample(self.batch, self.key)
        self.direction = self.probe.from_numpy(
            {n: noise(initial[n]) for n in self.probe.names}
        )


def arrays_of(params):
    if isinstance(params, dict):
        return both.flat(params)
    return {n: x.detach().numpy() for n, x in params.named_parameters()}


def with_values(params, arrays):
    """The same parameters with other values."""
    if isinstance(params, dict):
        return nested(arrays)
    import torch

    with torch.no_grad():
        for name, parameter in params.named_parameters():
            parameter.copy_(torch.tensor(np.asarray(arrays[name])))
    return params


def nested(values):
    tree = {}
    for path, value in values.items():
        *folders, leaf = path.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = value
    return tree


@pytest.fixture(scope="module")
def probed(prepared, data_dir):
    made = {}

    def make(name, framework):
        if (name, framework) not in made:
            made[name, framework] = Probed(name, framework, prepared(name), data_dir)
        return made[name, framework]

    return make


def slopes_of(probe, *arguments):
    losses, slopes = probe.slopes(*arguments[:-1], [arguments[-1]])
    return losses, slopes.T


def close(value, scale=0.0):
    return pytest.approx(value, rel=CLOSE, abs=CLOSE * abs(scale) + 1e-9)


@each
def test_losses_and_gradient_are_those_of_the_training_loss(name, framework, probed):
    p = probed(name, framework)
    losses, gradient = p.probe.gradient(p.point, p.sample)
    assert p.probe.losses(p.point, p.sample) == close(losses)
    rate = None  # the workload's default, as the probe has it

    def objective(params):
        logits, _ = p.workload.model_fn(
            params,
            p.batch,
            p.state,
            spec.ForwardPassMode.TRAIN,
            p.key,
            update_batch_norm=False,
            dropout_rate=rate,
        )
        loss = p.workload.loss_fn(p.batch["targets"], logits, p.batch.get("weights"))
        return loss["summed"] / loss["n_valid_examples"]

    if framework == "jax":
        import jax

        value, found = jax.jit(jax.value_and_grad(objective))(p.params)
        expected = both.flat(jax.device_get(found))
    else:
        p.params.zero_grad()
        value = objective(p.params)
        value.backward()
        expected = {n: x.grad.numpy() for n, x in p.params.named_parameters()}
    assert losses.mean() == close(
        float(value.detach() if framework == "pytorch" else value)
    )
    arrays = p.probe.to_numpy(gradient)
    assert set(arrays) == set(expected) == set(p.probe.names)
    size = np.sqrt(sum(np.square(g).sum() for g in expected.values()))
    for path, array in arrays.items():
        assert np.abs(array - expected[path]).max() <= CLOSE * size


@each
def test_slopes_are_the_products_of_single_gradients_with_the_direction(
    name, framework, probed
):
    p = probed(name, framework)
    losses, (slopes,) = slopes_of(p.probe, p.point, p.sample, p.direction)
    _, gradient = p.probe.gradient(p.point, p.sample)
    scale = np.abs(slopes).max()
    mean = p.probe.dots(gradient, p.direction).sum()
    assert slopes.mean() == close(mean, scale)
    wanted = Wanted([p.direction, gradient], squares=True)
    sums = p.probe.individual(p.point, p.sample, wanted)
    assert sums.losses == close(losses)
    assert sums.products[:, 0] == close(slopes, scale)
    square = p.probe.dots(gradient, gradient).sum()
    assert sums.products[:, 1].mean() == close(square, square)
    squares = p.probe.to_numpy(sums.squares)
    total = sum(np.sum(array, dtype=np.float64) for array in squares.values())
    assert total == close(sums.squared_norms.sum())
    is_apart = p.probe.routes["individual"] != "one by one"
    assert is_apart == (name not in ONE_BY_ONE)


@each
def test_histograms_count_every_element_of_every_gradient(name, framework, probed):
    p = probed(name, framework)
    wanted = Wanted(bins=GRADIENT_1D, pair_bins=(GRADIENT_2D, PARAMETER_2D))
    sums = p.probe.individual(p.point, p.sample, wanted)
    count = len(sums.losses) * p.probe.num_parameters
    assert sums.counts.sum() == count
    assert sum(pairs.sum() for pairs in sums.pair_counts.values()) == count
    assert set(sums.pair_counts) == set(p.probe.names)


@each
def test_products_with_the_curvature_are_symmetric(name, framework, probed):
    p = probed(name, framework)
    _, gradient = p.probe.gradient(p.point, p.sample)
    for make in (p.probe.hessian, p.probe.ggn):
        try:
            product = make(p.point, p.sample)
            ab = p.probe.dots(product(p.direction), gradient).sum()
            ba = p.probe.dots(product(gradient), p.direction).sum()
            aa = p.probe.dots(product(p.direction), p.direction).sum()
        except NotMeasurable:
            # PyTorch has no second derivative of its CTC loss.
            assert framework == "pytorch"
            assert p.workload.loss_type is spec.LossType.CTC_LOSS
            continue
        scale = abs(aa) + abs(ab)
        assert ab == pytest.approx(ba, abs=5e-3 * scale + 1e-9)
        if make == p.probe.ggn:
            assert aa >= -1e-6 * scale


@each
def test_the_hessian_is_the_change_of_the_gradient(name, framework, probed):
    p = probed(name, framework)
    if p.workload.loss_type is spec.LossType.MEAN_ABSOLUTE_ERROR:
        pytest.skip("the gradient of an absolute error jumps, which no Hessian tells")
    if name == "ogbg_mini":
        pytest.skip("its ReLUs have kinks nearer than a difference of float32 resolves")
    try:
        curved = p.probe.hessian(p.point, p.sample)(p.direction)
    except NotMeasurable:
        assert p.workload.loss_type is spec.LossType.CTC_LOSS
        return
    step = STEPS.get(name, 1e-4) * float(
        np.sqrt(1 / p.probe.dots(p.direction, p.direction).sum())
    )
    ends = []
    for side in (-step, step):
        values = p.probe.combine(1.0, p.point.values, side, p.direction)
        point = type(p.point)(values, p.point.model_state)
        _, (slopes,) = slopes_of(p.probe, point, p.sample, p.direction)
        ends.append(slopes.mean())
    estimate = (ends[1] - ends[0]) / (2 * step)
    exact = p.probe.dots(curved, p.direction).sum()
    # Differences of float32 slopes: kinks and rounding leave a digit or two.
    noise = 1e-6 * np.abs(ends).max() / step
    assert estimate == pytest.approx(exact, rel=0.3, abs=10 * noise)


@each
def test_labels_drawn_from_the_model_estimate_its_ggn(name, framework, probed):
    p = probed(name, framework)
    try:
        drawn = p.probe.relabelled(p.point, p.sample, seed=1)
    except NotMeasurable as error:
        assert "cross-entropy" in str(error)
        return
    again = p.probe.relabelled(p.point, p.sample, seed=1)
    for sample in (drawn.sample, again.sample):
        assert sample.batch["targets"].shape == p.batch["targets"].shape
        assert sample.batch["targets"].dtype == p.batch["targets"].dtype
    same = np.asarray(drawn.sample.batch["targets"]) == np.asarray(
        again.sample.batch["targets"]
    )
    assert same.all() and drawn.scale > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKLOADS)
def test_both_frameworks_measure_the_same(name, probed, prepared, data_dir):
    """Without dropout and noise of the input, whose masks differ by framework."""
    definition = prepared(name)
    jax = probed(name, "jax")
    weights = both.pytorch_weights(definition, jax.weights)
    pytorch = Probed(name, "pytorch", definition, data_dir, weights)
    direction = both.pytorch_weights(definition, jax.probe.to_numpy(jax.direction))
    pytorch.direction = pytorch.probe.from_numpy(direction)
    found = []
    for p in (jax, pytorch):
        plain = p.backend.probe(Objective(p.workload, dropout_rate=0.0))
        point = plain.copy(p.params, p.state)
        _, gradient = plain.gradient(point, p.sample)
        losses, (slopes,) = slopes_of(plain, point, p.sample, p.direction)
        sums = plain.individual(point, p.sample, Wanted([gradient]))
        found.append((losses, slopes, sums.squared_norms, sums.products[:, 0]))
    for ours, theirs in zip(*found, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=5e-3, atol=5e-3 * scale)
