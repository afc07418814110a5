"""Alpha: the published vectors, deterministic parabolas and what has no parabola."""

import math

import numpy as np
import pytest

from algoperf.instruments.alpha import End, alpha

PLAIN = (0.1, 0.1, 0.2, 0.2)
UNEQUAL = (0.4, 0.1, 0.2, 0.05)


def alpha_of(length, losses, slopes, variances=PLAIN):
    start = End(losses[0], slopes[0], variances[0], variances[2])
    end = End(losses[1], slopes[1], variances[1], variances[3])
    return alpha(length, start, end)


@pytest.mark.parametrize(
    ("length", "losses", "slopes", "variances", "expected"),
    [
        (1, (1, 0.51), (-0.5, -0.4), PLAIN, -0.805195),
        (1, (1, 0.51), (-0.5, -0.4), UNEQUAL, -0.792287),
        (1, (1, 0.5), (-0.75, 0), PLAIN, -0.052632),
        (2, (1, 1), (-1, 1.1), PLAIN, 1.032258),
        (0.5, (1, 0.25), (-2, -1), PLAIN, -0.5),
        (2, (1, 1), (-2, 2), PLAIN, 1.0),
        (3, (1, 4), (-2, 4), PLAIN, 2.0),
        (1, (1, 0.2), (-0.6, -0.9), PLAIN, -1.0),
    ],
)
def test_the_published_vectors(length, losses, slopes, variances, expected):
    assert alpha_of(length, losses, slopes, variances) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e12])
def test_a_common_factor_of_all_variances_changes_nothing(scale):
    variances = tuple(scale * v for v in UNEQUAL)
    found = alpha_of(1, (1, 0.51), (-0.5, -0.4), variances)
    assert found == pytest.approx(-0.7922874, abs=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e6])
def test_the_unit_of_length_changes_nothing(unit):
    variances = (0.4, 0.1, 0.2 / unit**2, 0.05 / unit**2)
    slopes = (-0.5 / unit, -0.4 / unit)
    found = alpha_of(unit, (1, 0.51), slopes, variances)
    assert found == pytest.approx(-0.7922874, abs=1e-6)


def test_a_variance_of_zero_is_a_very_small_one():
    exact = alpha_of(1, (1, 0.5), (-0.75, 0.0), (0, 0, 0, 0))
    assert exact == alpha_of(1, (1, 0.5), (-0.75, 0.0), (1e-10,) * 4)


def test_a_step_of_no_length_makes_no_progress():
    assert alpha_of(0, (1, 1), (-1, -1)) == -1


def test_a_straight_slope_counts_as_a_concave_one():
    assert alpha_of(1, (1, 0), (-1, -1)) == -1


def test_a_step_uphill_is_below_minus_one():
    assert alpha_of(1, (1, 3), (1, 3)) < -1


def test_a_step_that_begins_at_the_minimum_is_infinitely_long():
    # Rounding decides whether it is a step up or down.
    assert abs(alpha_of(1, (0, 1), (0, 2), (1, 1, 1, 1))) > 1e10


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_has_no_alpha(value):
    assert alpha_of(1, (1, value), (-1, 0)) is None
    assert alpha_of(1, (1, 0), (-1, 0), (0.1, value, 0.2, 0.2)) is None


def test_an_end_is_observed_from_single_examples():
    end = End.of(np.array([1.0, 2.0, 6.0]), np.array([-1.0, -1.0, -4.0]))
    assert (end.loss, end.slope) == (3.0, -2.0)
    assert (end.loss_variance, end.slope_variance) == (7.0, 3.0)


def test_a_single_example_has_no_variance():
    assert End.of(np.array([2.0]), np.array([1.0])) == End(2.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.1, -0.85), (2 / 3, 0.0), (4 / 3, 1.0), (1.5, 1.25)]
)
def test_gradient_descent_on_the_worked_example(rate, expected):
    inputs = np.array([(1, 0), (0, 1), (1, 1), (2, 0)], np.float64)
    weights = np.zeros(2)

    def observed(at, direction):
        errors = inputs @ at + 1
        return End.of(errors**2 / 2, errors * (inputs @ direction))

    update = -rate * inputs.mean(0)
    length = float(np.linalg.norm(update))
    ends = [observed(at, update / length) for at in (weights, weights + update)]
    assert alpha(length, *ends) == pytest.approx(expected, abs=1e-6)
