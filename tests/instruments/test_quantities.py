"""The worked example to six digits, identities, and what is undefined."""

import math

import numpy as np
import pytest

from algoperf.instruments import quantities

# Least squares with inputs x_i, all targets -1, weights 0: gradients are the inputs.
GRADIENTS = np.array([(1, 0), (0, 1), (1, 1), (2, 0)], np.float64)
MEAN = GRADIENTS.mean(0)
SQUARED_NORMS = (GRADIENTS**2).sum(1)
PRODUCTS = GRADIENTS @ MEAN
MEAN_SQUARED_NORM = float(MEAN @ MEAN)
SQUARES = {"w": (GRADIENTS**2).sum(0)}
DIAGONAL = {"w": np.array([1.5, 0.5])}


def close(value):
    return pytest.approx(value, abs=1e-6)


def noise_of(squared_norms, products, mean_squared_norm):
    return (
        quantities.norm_test(squared_norms, mean_squared_norm),
        quantities.inner_test(products, mean_squared_norm),
        quantities.ortho_test(squared_norms, products, mean_squared_norm),
    )


def test_gradient_noise_of_the_worked_example():
    found = noise_of(SQUARED_NORMS, PRODUCTS, MEAN_SQUARED_NORM)
    assert found == close((0.4472136, 0.2581989, 0.3651484))


def test_elementwise_quantities_of_the_worked_example():
    assert quantities.mean_gsnr(SQUARES, {"w": MEAN}, 4) == close(1.49996)
    assert quantities.early_stopping(SQUARES, {"w": MEAN}, 4) == close(-3.49991)
    assert quantities.tic_diagonal(SQUARES, DIAGONAL, 4) == close(1.9999997)
    assert quantities.tic_trace(SQUARED_NORMS, 2.0) == close(0.99999995)


def test_cabs_of_the_worked_example():
    suggested = quantities.cabs(SQUARED_NORMS, MEAN_SQUARED_NORM, 0.5, 0.1)
    assert suggested == close(0.15)


def test_the_norm_test_is_the_other_two_together():
    random = np.random.default_rng(0)
    gradients = random.standard_normal((17, 5)) + 0.3
    mean = gradients.mean(0)
    norm, inner, ortho = noise_of(
        (gradients**2).sum(1), gradients @ mean, float(mean @ mean)
    )
    assert norm**2 == pytest.approx(inner**2 + ortho**2, rel=1e-12)


def test_equal_gradients_have_no_noise():
    square = np.full(8, 4.0)
    assert noise_of(square, square, 4.0) == (0.0, 0.0, 0.0)


def test_rounding_below_zero_is_no_noise():
    square = np.full(3, np.float64(0.1) ** 2)
    assert quantities.norm_test(square, float(square[0]) * (1 + 1e-15)) == 0.0


def test_a_gradient_of_zero_has_infinite_or_undefined_noise():
    zero = np.zeros(4)
    assert quantities.norm_test(np.ones(4), 0.0) == math.inf
    assert math.isnan(quantities.norm_test(zero, 0.0))
    assert math.isnan(quantities.inner_test(zero, 0.0))


def test_a_single_example_tells_nothing_about_noise():
    found = noise_of(np.array([4.0]), np.array([4.0]), 4.0)
    assert all(math.isnan(value) for value in found)


def test_tensors_count_by_their_elements():
    squares = {"a": SQUARES["w"][:1], "b": SQUARES["w"][1:]}
    parts = {"a": MEAN[:1], "b": MEAN[1:]}
    assert quantities.mean_gsnr(squares, parts, 4) == close(1.49996)
