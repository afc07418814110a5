"""Counts in equal bins, against numpy's."""

import numpy as np
import pytest

from algoperf.histograms import Bins, count, count_outer, count_pairs, largest


@pytest.mark.parametrize("size", [0, 1, 7, 2**15, 2**15 + 1, 100_001])
@pytest.mark.parametrize("number", [7, 100, 300])
def test_counts_are_numpys(size, number):
    bins = Bins(number, -1.5, 2.0)
    # Away from the edges, where float32 and float64 may differ.
    random = np.random.default_rng(0)
    places = random.integers(0, number, size) + random.uniform(0.1, 0.9, size)
    values = (-1.5 + places * 3.5 / number).astype(np.float32)
    expected, _ = np.histogram(values, number, (-1.5, 2.0))
    np.testing.assert_array_equal(count(values, bins), expected)


def test_what_lies_outside_counts_in_the_end_bins():
    values = np.array([-np.inf, -9, -1, 0, 1, 9, np.inf, np.nan], np.float32)
    assert count(values, Bins(4, -1, 1)).tolist() == [4, 0, 1, 3]


def test_pairs_are_counted_by_gradient_and_parameter():
    bins = (Bins(4, -1, 1), Bins(2, -1, 1))
    parameter = np.array([[-0.5, 0.5]], np.float32)
    gradients = np.array([[[-0.9, 0.9]], [[0.1, 0.6]], [[-5, 5]]], np.float32)
    found = count_pairs(gradients, parameter, bins)
    assert found.tolist() == [[2, 0], [0, 0], [1, 0], [0, 3]]


RANGES = [
    Bins(100, -2, 2),
    Bins(101, -2, 2),
    Bins(100, -1e-3, 1e-3),
    Bins(40, 0, 1),
    Bins(7, -1, 3),
    Bins(10, 1, 2),
]


@pytest.mark.parametrize("bins", RANGES, ids=str)
def test_values_near_zero_are_counted_as_all_others(bins):
    random = np.random.default_rng(1)
    scale = 10.0 ** random.uniform(-6, 1, 50_000)
    values = (random.standard_normal(50_000) * scale).astype(np.float32)
    values[::100] = 0
    edges = np.linspace(bins.low, bins.high, bins.number + 1)
    inside = np.clip(values.astype(np.float64), bins.low, bins.high)
    is_clear = (np.abs(values[:, None] - edges) > 1e-6 * bins.high).all(1)
    values, inside = values[is_clear | (values == 0)], inside[is_clear | (values == 0)]
    expected, _ = np.histogram(inside, edges)
    np.testing.assert_array_equal(count(values, bins), expected)


@pytest.mark.parametrize("bins", RANGES, ids=str)
@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 300.0])
def test_products_are_counted_as_if_they_were_written_out(bins, scale):
    random = np.random.default_rng(2)
    left = (scale * random.standard_normal((5, 30))).astype(np.float32)
    right = random.standard_normal((5, 40)).astype(np.float32)
    left[:, 0], right[:, :10], right[3] = 0, 0, 0
    products = left[:, :, None] * right[:, None, :]
    counts = count_outer(left, right, bins)
    np.testing.assert_array_equal(counts, count(products, bins))


def test_products_that_are_not_numbers_count_in_the_first_bin():
    left = np.array([[np.nan, 1.0], [1.0, 1.0]], np.float32)
    right = np.array([[1.0, 2.0, 3.0], [np.nan, 0.0, 1.0]], np.float32)
    assert count_outer(left, right, Bins(4, -1, 1)).tolist() == [5, 0, 2, 5]


def test_the_largest_magnitude_passes_over_what_is_no_number():
    assert largest(np.array([1.0, -3.0, 2.0], np.float32)) == 3
    assert largest(np.array([np.nan, -3.0, 2.0], np.float32)) == 3
    assert largest(np.array([np.nan], np.float32)) == largest(np.zeros(0)) == 0
    assert largest(np.array([-np.inf, 1], np.float32)) == np.inf


def test_a_range_is_adapted_to_a_magnitude():
    assert Bins(40, -1, 1).adapted(0.25) == Bins(40, -0.25, 0.25)
    assert Bins(40, -1, 1).adapted(0.0) == Bins(40, -0.5e-6, 0.5e-6)
    assert Bins(40, -1, 1).adapted(np.inf) == Bins(40, -1, 1)
