"""Ratios, intervals, tests and verdicts, on made-up steps."""

import math

import numpy as np
import pytest
from made_runs import FOUR, even, results
from scipy import stats

from algoperf.suite import statistics
from algoperf.suite.compare import compare
from algoperf.suite.statistics import Sample, estimate, p_value, samples, t_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 8, 18, 200])
@pytest.mark.parametrize("probability", [0.8, 0.95, 0.975, 0.9875, 0.2])
def test_quantiles_are_students(probability, freedom):
    expected = stats.t.ppf(probability, freedom)
    assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-3)


def test_without_a_degree_of_freedom_nothing_is_known():
    assert t_quantile(0.975, 0) == math.inf


def test_the_ratio_is_the_geometric_mean_over_workloads():
    a = results("a", {FOUR[0]: [200, 200], FOUR[1]: [100, 100]})
    b = results("b", {FOUR[0]: [100, 100], FOUR[1]: [200, 200]})
    assert compare(a, b, FOUR[:2]).found.ratio == pytest.approx(1.0)
    c = results("c", {FOUR[0]: [400, 400], FOUR[1]: [400, 400]})
    assert compare(c, b, FOUR[:2]).found.ratio == pytest.approx(math.sqrt(4 * 2))


def test_swapping_the_two_inverts_the_ratio():
    a, b = even("a", 0.9), even("b")
    there, back = compare(a, b, FOUR).found, compare(b, a, FOUR).found
    assert there.ratio == pytest.approx(1 / back.ratio)
    assert there.p_better == pytest.approx(1 - back.p_better, abs=0.02)


def test_a_clear_difference_is_found_and_a_small_one_is_not():
    assert compare(even("a", 0.7), even("b"), FOUR).verdict == "better"
    assert compare(even("a", 1.4), even("b"), FOUR).verdict == "worse"
    noisy = results(
        "a",
        {w: [640 * (i + 1), 520 * (i + 1), 680 * (i + 1)] for i, w in enumerate(FOUR)},
    )
    assert compare(noisy, even("b"), FOUR).verdict == "undecided"


def test_equal_steps_are_a_tie_with_even_chances():
    found = compare(even("a"), even("b"), FOUR)
    assert found.verdict == "tie"
    assert found.found.p_better == 0.5
    assert found.p_value == 1.0


def test_paired_seeds_take_out_what_both_share():
    shared = np.array([0.0, 0.4, -0.4])
    paired = [Sample(w, 5 + shared - 0.1, 5 + shared, True) for w in FOUR]
    unpaired = [Sample(w, 5 + shared - 0.1, 5 + shared, False) for w in FOUR]
    assert estimate(paired).verdict == "better"
    assert estimate(unpaired).verdict == "undecided"
    assert p_value(paired) < 0.01 < p_value(unpaired)


def test_other_seeds_are_not_paired():
    a, b = even("a"), even("b")
    other = results("c", {FOUR[0]: [100, 110, 90]}, first_seed=50)
    assert all(s.is_paired for s in samples(a, b, FOUR))
    assert not samples(a, other, FOUR[:1])[0].is_paired


def test_more_seeds_of_one_are_paired_with_those_of_the_other():
    longer, shorter = even("a", seeds=6), even("b", seeds=3)
    found = samples(longer, shorter, FOUR)
    assert all(s.is_paired and len(s.first) == 3 for s in found)


def test_a_miss_is_worse_than_any_hit_and_two_misses_are_equal():
    a = results("a", {FOUR[0]: [None, None], FOUR[1]: [100, 100]})
    b = results("b", {FOUR[0]: [3_960, 3_960], FOUR[1]: [100, 100]})
    assert compare(a, b, FOUR[:2]).found.ratio > 1.4
    assert compare(a, b, FOUR[:2]).misses == (2, 0)
    assert compare(a, a, FOUR[:2]).verdict == "tie"


def test_a_verdict_that_hangs_on_what_a_miss_counts_is_none():
    """Here with twice the hint `a` is worse on one workload by more than it is better."""
    a = results("a", {w: [2000] * 3 for w in FOUR[:3]} | {FOUR[3]: [None] * 3})
    b = results("b", {w: [2020] * 3 for w in FOUR[:3]} | {FOUR[3]: [3_960] * 3})
    found = compare(a, b, FOUR)
    assert found.with_least_miss.verdict == "tie"
    assert found.verdict == "undecided"


def test_the_interval_holds_the_truth_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(statistics, "_RESAMPLES", 300)
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        found = []
        for workload in FOUR:
            first = rng.normal(0, 0.15) + rng.normal(0, 0.08, 3)
            found.append(Sample(workload, first, np.zeros(3), True))
        result = estimate(found)
        held += result.low <= 0 <= result.high
    assert held >= 184  # 95 %, less two standard deviations


def test_the_permutation_test_is_seldom_wrong(monkeypatch):
    monkeypatch.setattr(statistics, "_PERMUTATIONS", 199)
    rng = np.random.default_rng(0)
    small = sum(
        p_value(
            [
                Sample(w, rng.normal(0, 0.1, 3), rng.normal(0, 0.1, 3), is_paired)
                for w in FOUR
            ]
        )
        <= 0.05
        for is_paired in (True, False)
        for _ in range(100)
    )
    assert small <= 18  # 5 % of 200, and two and a half standard deviations


def test_one_seed_of_one_workload_decides_nothing():
    a, b = results("a", {FOUR[0]: [100]}), results("b", {FOUR[0]: [900]})
    found = compare(a, b, FOUR[:1])
    assert found.verdict == "undecided"
    assert found.found.interval == (0.0, math.inf)


def test_results_do_not_depend_on_the_hour():
    first = compare(even("a", 0.9), even("b"), FOUR)
    assert compare(even("a", 0.9), even("b"), FOUR).found == first.found
