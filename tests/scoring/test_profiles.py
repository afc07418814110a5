"""Held-out rules, ratios, profiles and scores, against brute force and by hand."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from algoperf.scoring import profiles

INF = math.inf
TIMES = hnp.arrays(
    float,
    st.tuples(st.integers(1, 4), st.just(5)),
    elements=st.one_of(st.floats(0.1, 1000.0), st.just(INF)),
)
BASES = (0, 2)  # of the two held-out workloads in columns 3 and 4


def test_a_held_out_time_is_forgotten_where_the_base_was_missed():
    times = np.array([[INF, 1.0], [10.0, 100.0]])
    # a's time of 1 s would make b's 100 s too slow; it does not count.
    assert profiles.remaining_times(times, (0,), 4.0)[1, 0] == 10.0


def test_a_missed_held_out_workload_costs_the_base():
    times = np.array([[10.0, INF], [20.0, 5.0]])
    assert profiles.remaining_times(times, (0,), 4.0).tolist() == [[INF], [20.0]]


def test_a_held_out_time_beyond_the_limit_costs_the_base():
    times = np.array([[10.0, 41.0], [20.0, 10.0]])
    assert profiles.remaining_times(times, (0,), 4.0).tolist() == [[INF], [20.0]]


def test_a_time_of_exactly_the_limit_counts():
    assert profiles.remaining_times(np.array([[10.0], [40.0]]), (), 4.0)[1, 0] == 40.0


def test_ratios_are_to_the_best_that_remained():
    times = np.array([[10.0, INF], [20.0, 5.0], [30.0, 5.0]])
    remaining = profiles.remaining_times(times, (0,), 4.0)
    ratios = profiles.performance_ratios(remaining)
    assert ratios[:, 0].tolist() == [INF, 1.0, 1.5]


def test_a_workload_that_nobody_solved_gives_nothing():
    ratios = profiles.performance_ratios(np.full((2, 1), INF))
    assert profiles.benchmark_scores(ratios, 4.0).tolist() == [0.0, 0.0]


def test_no_time_at_all_is_the_best_time():
    assert profiles.performance_ratios(np.array([[0.0], [0.0]])).tolist() == [[1], [1]]


def test_score_by_hand():
    ratios = np.array([1.0, 2.5, INF])
    assert math.isclose(profiles.benchmark_scores(ratios, 4.0), (1 + 0.5 + 0) / 3)


@given(hnp.arrays(float, st.integers(1, 8), elements=st.floats(1.0, 6.0)))
def test_score_is_the_area_under_the_profile(ratios: np.ndarray):
    taus, shares = profiles.profile_steps(ratios, 4.0)
    area = float((np.diff(taus) * shares[:-1]).sum()) / 3
    assert math.isclose(profiles.benchmark_scores(ratios, 4.0), area, abs_tol=1e-9)


@given(hnp.arrays(float, st.integers(1, 8), elements=st.floats(1.0, 6.0)))
def test_the_published_approximation_is_within_half_a_grid_step(ratios: np.ndarray):
    exact = profiles.benchmark_scores(ratios, 4.0)
    approximation = profiles.compat_scores(ratios, 4.0)
    assert abs(exact - approximation) <= 0.5 / 99 + 1e-12


@settings(deadline=None)
@given(TIMES, st.data())
def test_a_worse_time_never_brings_a_better_score(
    times: np.ndarray, data: st.DataObject
):
    row = data.draw(st.integers(0, len(times) - 1))
    column = data.draw(st.integers(0, 4))
    worse = times.copy()
    worse[row, column] *= data.draw(st.sampled_from([1.01, 3.0, 100.0, INF]))
    before = profiles.score_times(times, BASES, 4.0)[row]
    assert profiles.score_times(worse, BASES, 4.0)[row] <= before + 1e-12


@given(TIMES, st.randoms())
def test_order_of_submissions_does_not_matter(times: np.ndarray, random):
    order = list(range(len(times)))
    random.shuffle(order)
    np.testing.assert_array_equal(
        profiles.score_times(times[order], BASES, 4.0),
        profiles.score_times(times, BASES, 4.0)[order],
    )


@given(TIMES)
def test_leading_axes_are_scored_apart(times: np.ndarray):
    twice = np.stack([times, times * 2])
    both = profiles.score_times(twice, BASES, 4.0)
    np.testing.assert_array_equal(both[0], profiles.score_times(times, BASES, 4.0))


def test_speedup_counts_a_miss_as_budget_and_a_second():
    logs = profiles.log_speedups(
        np.array([10.0, INF]), np.array([20.0, 50.5]), np.array([100.0, 100.0])
    )
    assert math.isclose(math.exp(logs), math.sqrt(2.0 * 0.5))


def test_speedup_is_unknown_where_a_missed_budget_is():
    logs = profiles.log_speedups(np.array([INF]), np.array([1.0]), np.array([INF]))
    assert math.isnan(logs)
