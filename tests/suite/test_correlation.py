"""Whether the suite's order agrees with published ones."""

import pytest
from made_runs import FOUR, even, results
from scipy import stats

from algoperf.errors import BadLogs
from algoperf.suite import baselines, correlation
from algoperf.suite.correlation import correlate, tau

SCORES = {"a": 0.9, "b": 0.5, "c": 0.1}


def ordered(*names: str):
    return [even(name, 1 + 0.3 * i) for i, name in enumerate(names)]


def test_tau_is_kendalls():
    x, y = [1, 4, 2, 3, 7, 5], [2, 3, 1, 6, 5, 4]
    assert tau(x, y) == pytest.approx(stats.kendalltau(x, y).statistic)


def test_equal_and_opposite_orders():
    same = correlate(ordered("a", "b", "c"), SCORES, FOUR)
    assert (same.tau, same.names) == (1.0, ("a", "b", "c"))
    assert same.interval == (1.0, 1.0)
    assert same.p_value == pytest.approx(1 / 6)
    assert correlate(ordered("c", "b", "a"), SCORES, FOUR).tau == -1.0


def test_an_order_that_hangs_on_one_workload_has_a_wide_interval():
    found = [
        results("a", {FOUR[0]: [100] * 3, FOUR[1]: [900] * 3}),
        results("b", {FOUR[0]: [400] * 3, FOUR[1]: [210] * 3}),
        results("c", {FOUR[0]: [500] * 3, FOUR[1]: [150] * 3}),
    ]
    low, high = correlate(found, SCORES, FOUR[:2]).interval
    assert (low, high) == (-1.0, 1.0)


def test_two_algorithms_are_no_order():
    with pytest.raises(BadLogs, match="Only 2 algorithms"):
        correlate(ordered("a", "b"), SCORES, FOUR)


def test_an_algorithm_that_lacks_a_workload_is_left_out():
    short = results("b", {FOUR[0]: [100]})
    with pytest.raises(BadLogs, match="Only 2 algorithms"):
        correlate([*ordered("a", "c"), short], SCORES, FOUR)


def test_every_published_algorithm_is_a_baseline():
    for scores in correlation.orders().values():
        assert set(scores) <= set(baselines.names())
