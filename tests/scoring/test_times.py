"""Times to target: what reaches, which trial is chosen, how studies are joined."""

import math

import numpy as np
import pytest
from scoring_cases import hit_at, targets, trial

from algoperf.definition import Target
from algoperf.errors import BadLogs
from algoperf.logs import Outcome, Trial
from algoperf.scoring.pool import make_pool
from algoperf.scoring.times import find_hits, first_hit, median

TARGET = Target("accuracy", 0.5, 0.5)


def time_of(trials: list[Trial], rules: str, compat: bool = False) -> float:
    pool = make_pool(trials, rules, targets=targets("w"), tuning="external")
    return float(find_hits(pool).table("seconds", compat=compat).workload_times()[0, 0])


def test_the_target_must_be_beaten_not_met():
    run = trial("a", "w", [(10, 0.5), (20, 0.51)])
    assert first_hit(run, TARGET, "validation").seconds == 20


def test_a_minimised_metric_is_beaten_from_above():
    run = trial("a", "w", [(10, 0.6), (20, 0.4)])
    assert (
        first_hit(run, Target("accuracy", 0.5, 0.5, "lower"), "validation").seconds
        == 20
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_value_that_is_not_finite_reaches_nothing(value: float, better):
    run = trial("a", "w", [(10, value)])
    target = Target("accuracy", 0.5, 0.5, better)
    assert first_hit(run, target, "validation").seconds == math.inf


def test_an_evaluation_after_the_budget_does_not_count():
    run = hit_at("a", "w", 20)
    assert first_hit(run, TARGET, "validation", 20).seconds == 20
    assert first_hit(run, TARGET, "validation", 19.9).seconds == math.inf


def test_an_invalid_trial_has_reached_nothing():
    run = hit_at("a", "w", 20, outcome=Outcome.INVALID)
    assert first_hit(run, TARGET, "validation").seconds == math.inf


def test_a_trial_whose_end_was_not_recorded_has_reached_nothing():
    run = hit_at("a", "w", 20, meta={"ruleset": "v0.5"})
    assert first_hit(run, TARGET, "validation").seconds == math.inf


def test_the_earliest_trial_of_a_study_counts():
    trials = [hit_at("a", "w", s, number=i) for i, s in enumerate([30, 10, math.inf])]
    assert time_of(trials, "v0.5") == 10


def test_paper_scores_the_test_time_of_the_trial_first_at_the_validation_target():
    first = trial("a", "w", [(10, 0.6), (50, 0.6)], test=[0.1, 0.6], number=1)
    second = trial("a", "w", [(12, 0.6), (15, 0.6)], test=[0.1, 0.6], number=2)
    assert time_of([first, second], "paper") == 50
    assert time_of([first, second], "v0.5") == 10


def test_paper_misses_when_the_chosen_trial_never_reaches_the_test_target():
    first = trial("a", "w", [(10, 0.6)], test=[0.1], number=1)
    second = trial("a", "w", [(12, 0.6)], test=[0.9], number=2)
    assert time_of([first, second], "paper") == math.inf


def test_a_missing_test_target_is_an_error_under_paper():
    known = targets("w")
    facts = known.workloads["w"]
    without = type(facts)("w", "w", Target("accuracy", 0.5, math.nan))
    known = type(known)({"w": without})
    pool = make_pool([hit_at("a", "w", 1)], "paper", targets=known)
    with pytest.raises(BadLogs, match="test target"):
        find_hits(pool)


def test_compat_takes_the_trial_with_the_fewest_evaluations():
    fast = trial("a", "w", [(1, 0.1), (2, 0.2), (3, 0.9)], number=1)
    few = trial("a", "w", [(5, 0.1), (10, 0.9)], number=2)
    assert time_of([fast, few], "v0.5") == 3
    assert time_of([fast, few], "v0.5", compat=True) == 10


def test_a_missed_study_takes_part_in_the_median():
    times = [10, math.inf, 30]
    trials = [hit_at("a", "w", s, study=k) for k, s in enumerate(times)]
    assert time_of(trials, "v0.5") == 30


def test_a_study_that_another_submission_has_counts_as_a_miss():
    trials = [hit_at("a", "w", 10, study=1)]
    trials += [hit_at("b", "w", 20, study=k) for k in (1, 2, 3)]
    pool = make_pool(trials, "v0.5", targets=targets("w"), tuning="external")
    assert find_hits(pool).table().workload_times()[:, 0].tolist() == [math.inf, 20]


def test_steps_are_counted_for_the_trial_with_the_fewest():
    slow = trial("a", "w", [(50, 0.9)], steps=[5], number=1)
    many = trial("a", "w", [(10, 0.9)], steps=[100], number=2)
    pool = make_pool([slow, many], "v0.5", targets=targets("w"), tuning="external")
    assert find_hits(pool).table("steps").workload_times()[0, 0] == 5


def test_median_of_an_even_number_is_the_mean_of_the_middle():
    assert median(np.array([1.0, 4.0, 2.0, np.inf])) == 3.0
    assert median(np.array([1.0, np.inf])) == np.inf
    assert median(np.empty(0)) == np.inf
