"""Counts in equal bins, against numpy's."""

import numpy as np
import pytest

from algoperf.histograms import Bins, count, count_pairs


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
