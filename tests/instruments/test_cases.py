"""Published cases, run under instruments: a loss that is blind, and a hidden curvature effect."""

import numpy as np
import pytest
from formula_probe import Formula, descend

from algoperf.instruments.recorder import Plan
from algoperf.instruments.schedules import Logarithmic

# The quadratic with eigenvalues 0.5 and 10, turned by 30 degrees.
ANGLE = np.pi / 6
ALONG = np.array([np.cos(ANGLE), np.sin(ANGLE)])
ACROSS = np.array([-np.sin(ANGLE), np.cos(ANGLE)])
MATRIX = 0.5 * np.outer(ALONG, ALONG) + 10 * np.outer(ACROSS, ACROSS)
STEPS, BATCH_SIZE = 20, 128


def quadratic_examples(theta, batch):
    """All examples are alike."""
    losses = np.full(BATCH_SIZE, 0.5 * theta @ MATRIX @ theta)
    return losses, np.tile(MATRIX @ theta, (BATCH_SIZE, 1))


def descend_quadratic(rate, folder):
    """Instruments of gradient descent from (1, 1)."""
    formula = Formula(quadratic_examples, lambda theta, batch: MATRIX)
    plan = Plan(("Alpha", "HessMaxEV", "HessTrace", "Loss"))
    return descend(formula, (1.0, 1.0), [{}] * STEPS, rate, plan, folder)


RATES = {"bounces": lambda step: 0.2, "crawls": lambda step: 7.2e-3 * 0.87**step}


@pytest.mark.parametrize(
    ("case", "losses", "alphas", "mean"),
    [
        (
            "bounces",
            (1.1364, 1.0477, 0.9759, 0.6784),
            (0.93607, 0.94788, 0.99851),
            0.98,
        ),
        (
            "crawls",
            (1.1364, 1.0400, 0.9671, 0.6772),
            (-0.93030, -0.93966, -0.99461),
            -0.97,
        ),
    ],
)
def test_equal_losses_hide_opposite_faults(case, losses, alphas, mean, tmp_path):
    found = descend_quadratic(RATES[case], tmp_path)
    _, loss = found.series("Loss")
    _, alpha = found.series("Alpha")
    assert loss[[0, 1, 2, 19]] == pytest.approx(losses, abs=5e-5)
    assert alpha[[0, 1, 18]] == pytest.approx(alphas, abs=5e-6)
    assert alpha.mean() == pytest.approx(mean, abs=5e-3)
    assert found.series("HessMaxEV")[1] == pytest.approx(10.0, rel=1e-3)
    assert found.series("HessTrace")[1] == pytest.approx(10.5)


def net_examples(theta, batch):
    """Of the scalar two-layer linear net a b x."""
    (a, b), (x, y) = theta, batch["pairs"]
    error = a * b * x - y
    return error**2, np.stack([2 * error * b * x, 2 * error * a * x], 1)


def net_hessian(theta, batch):
    (a, b), (x, y) = theta, batch["pairs"]
    square, mixed = 2 * np.mean(x * x), 2 * np.mean((2 * a * b * x - y) * x)
    return np.array([[b * b * square, mixed], [mixed, a * a * square]])


def train_net(batch_size, steps, folder):
    """Instruments of training in batches of fresh permutations of the 100 pairs."""
    random = np.random.RandomState(42)
    x, noise = random.standard_normal(300), random.standard_normal(300)
    pairs = np.stack([x, 1.4 * x + noise])[:, :100]
    order = np.random.RandomState(1)

    def batches():
        for _ in range(steps):
            chosen = order.permutation(100)[:batch_size]
            yield {"pairs": pairs if batch_size == 100 else pairs[:, chosen]}

    plan = Plan(("HessMaxEV", "Loss"), Logarithmic(0, np.log10(steps), 200))
    formula = Formula(net_examples, net_hessian)
    return descend(formula, (0.1, 1.7), batches(), lambda step: 0.1, plan, folder)


def recent(found, name):
    """The mean over the last tenth of what was measured."""
    _, values = found.series(name)
    return values[-len(values) // 10 :].mean()


def test_full_batches_keep_the_curvature_that_they_came_with(tmp_path):
    found = train_net(100, steps=2_000, folder=tmp_path)
    assert recent(found, "Loss") == pytest.approx(0.759325, abs=1e-6)
    assert recent(found, "HessMaxEV") == pytest.approx(6.1069, abs=1e-3)


@pytest.mark.slow
def test_noise_of_batches_flattens_the_curvature_at_the_same_loss(tmp_path):
    found = train_net(95, steps=100_000, folder=tmp_path)
    assert recent(found, "Loss") == pytest.approx(0.7593, abs=2e-2)
    assert 3.9 < found.series("HessMaxEV")[1][-1] < 4.5  # 4.0473 where a = b
    assert found.series("HessMaxEV")[1].max() > 5.5
