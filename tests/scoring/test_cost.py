"""Node-hours and the cost of tuning."""

import dataclasses
import math

import numpy as np
import pytest
from scoring_cases import hit_at, published_board, targets

from algoperf.logs import Trial
from algoperf.scoring import cost
from algoperf.scoring.leaderboard import Leaderboard, score


@pytest.fixture
def board() -> Leaderboard:
    return published_board()


def with_counters(trial: Trial, **last: float) -> Trial:
    counters = {name: np.array([0.0, value]) for name, value in last.items()}
    return dataclasses.replace(trial, columns={**trial.columns, **counters})


def test_cost_adds_up_wall_time_and_shares():
    trials = [
        with_counters(
            hit_at("a", "w", 3600, number=i),
            total_duration=7200.0,
            accumulated_eval_time=1800.0,
            accumulated_logging_time=720.0,
        )
        for i in (1, 2)
    ]
    assert cost.cost(trials) == cost.Cost(14_400.0, 7_200.0, 0.25, 0.1)


def test_a_share_that_was_not_logged_is_unknown():
    assert math.isnan(cost.cost([hit_at("a", "w", 10)]).evaluation_share)


def test_tuning_cost_grows_and_the_time_falls():
    trials = [
        hit_at("a", "w", seconds, number=i)
        for i, seconds in enumerate((math.inf, 7200, 3600), start=1)
    ]
    known = targets("w", budget=1e6)
    board = score(trials, "v0.5", targets=known, tuning="external")
    found = cost.tuning_cost(board, "a", "w")
    assert found.seconds_to_target.tolist() == [math.inf, 7200, 3600]
    np.testing.assert_allclose(
        found.hours_spent, [100 / 3600, 2 + 100 / 3600, 3 + 100 / 3600]
    )
