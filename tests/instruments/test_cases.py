"""Published cases: a quadratic where the loss is blind, and curvature that noise flattens."""

import numpy as np
import pytest

from algoperf.instruments.alpha import End, alpha

# The quadratic with eigenvalues 0.5 and 10, turned by 30 degrees.
ANGLE = np.pi / 6
ALONG = np.array([np.cos(ANGLE), np.sin(ANGLE)])
ACROSS = np.array([-np.sin(ANGLE), np.cos(ANGLE)])
MATRIX = 0.5 * np.outer(ALONG, ALONG) + 10 * np.outer(ACROSS, ACROSS)
STEPS = 20


def descend(rate):
    """Losses and alphas of gradient descent from (1, 1); all examples are alike."""
    at, losses, alphas = np.ones(2), [], []
    pending = None
    for step in range(STEPS):
        gradient = MATRIX @ at
        losses.append(0.5 * at @ MATRIX @ at)

        def observed(direction, losses=losses, gradient=gradient):
            return End(losses[-1], float(gradient @ direction), 0.0, 0.0)

        if pending is not None:
            length, direction, start = pending
            alphas.append(alpha(length, start, observed(direction)))
        update = -rate(step) * gradient
        length = float(np.linalg.norm(update))
        direction = update / length
        pending = (length, direction, observed(direction))
        at = at + update
    return np.array(losses), np.array(alphas)


@pytest.mark.parametrize(
    ("rate", "losses", "alphas", "mean"),
    [
        (
            lambda step: 0.2,
            (1.1364, 1.0477, 0.9759, 0.6784),
            (0.93607, 0.94788, 0.99851),
            0.98,
        ),
        (
            lambda step: 7.2e-3 * 0.87**step,
            (1.1364, 1.0400, 0.9671, 0.6772),
            (-0.93030, -0.93966, -0.99461),
            -0.97,
        ),
    ],
    ids=["bounces between the walls", "crawls"],
)
def test_equal_losses_hide_opposite_faults(rate, losses, alphas, mean):
    found, steps = descend(rate)
    assert found[[0, 1, 2, 19]] == pytest.approx(losses, abs=5e-5)
    assert steps[[0, 1, 18]] == pytest.approx(alphas, abs=5e-6)
    assert steps.mean() == pytest.approx(mean, abs=5e-3)


def linear_net():
    """The 100 training pairs of the scalar two-layer net a b x."""
    random = np.random.RandomState(42)
    x, noise = random.standard_normal(300), random.standard_normal(300)
    return x[:100], (1.4 * x + noise)[:100]


def train_net(batch, steps):
    """(a, b) after so many steps at rate 0.1, in batches of fresh permutations."""
    x, y = linear_net()
    random = np.random.RandomState(1)
    a, b = 0.1, 1.7
    for _ in range(steps):
        if batch < 100:
            chosen = random.permutation(100)[:batch]
            xs, ys = x[chosen], y[chosen]
        else:
            xs, ys = x, y
        slope = 2 * float((a * b * xs - ys) @ xs) / len(xs)
        a, b = a - 0.1 * slope * b, b - 0.1 * slope * a
    return a, b


def measured(a, b):
    """The loss over all data, and the Hessian's largest eigenvalue, by the instrument."""
    from toy_probe import ToyProbe

    from algoperf.instruments import eigenvalues

    x, y = linear_net()
    error = a * b * x - y
    square, slope = float(x @ x) / 100, float(error @ x) / 100
    matrix = 2 * np.array(
        [
            [b * b * square, slope + a * b * square],
            [slope + a * b * square, a * a * square],
        ]
    )
    probe = ToyProbe.__new__(ToyProbe)
    start = {"weight": np.zeros(1), "bias": np.zeros(1)}

    def product(vector):
        flat = matrix @ np.array([vector["weight"][0], vector["bias"][0]])
        return {"weight": flat[:1], "bias": flat[1:]}

    found = eigenvalues.largest(probe, product, start, seed=0)
    return float((error**2).mean()), found.value


def test_full_batches_keep_the_curvature_that_they_came_with():
    a, b = train_net(100, steps=2_000)
    loss, curvature = measured(a, b)
    assert (a, b) == pytest.approx((0.6808, 1.7965), abs=1e-4)
    assert loss == pytest.approx(0.759325, abs=1e-6)
    assert curvature == pytest.approx(6.1069, abs=1e-3)


@pytest.mark.slow
def test_noise_of_batches_flattens_the_curvature_at_the_same_loss():
    a, b = train_net(95, steps=100_000)
    loss, curvature = measured(a, b)
    assert loss == pytest.approx(0.7593, abs=2e-2)
    assert 3.9 < curvature < 4.4  # 4.0473 where a = b
