"""The bootstrap: what it must contain, and what it must not depend on."""

import math

import numpy as np
import pytest
from scoring_cases import hit_at, published_board, targets

from algoperf.errors import BadSettings
from algoperf.scoring.leaderboard import Leaderboard, score
from algoperf.scoring.uncertainty import bootstrap


@pytest.fixture
def board() -> Leaderboard:
    return published_board()


def test_intervals_hold_the_published_scores(board: Leaderboard):
    found = bootstrap(board, num_resamples=300)
    for name, value in board.scores.items():
        low, high = found.scores[name]
        assert low <= value <= high


def test_probabilities_add_up(board: Leaderboard):
    found = bootstrap(board, num_resamples=100)
    np.testing.assert_allclose(found.wins + found.wins.T + found.ties, 1.0)
    np.testing.assert_allclose(found.ranks.sum(axis=1), 1.0)
    assert (np.diag(found.ties) == 1).all()


def test_the_same_seed_gives_the_same(board: Leaderboard):
    one, two = (bootstrap(board, num_resamples=50, seed=3) for _ in range(2))
    assert one.scores == two.scores and one.seconds == two.seconds


def test_equal_studies_leave_no_uncertainty_and_ties_are_ties():
    trials = [hit_at(s, "w", 10, study=k) for s in "ab" for k in range(3)]
    found = bootstrap(score(trials, "v0.5", targets=targets("w")), num_resamples=20)
    assert found.scores == {"a": (1.0, 1.0), "b": (1.0, 1.0)}
    assert found.seconds["a"]["w"] == (10.0, 10.0)
    assert found.wins[0, 1] == 0 and found.ties[0, 1] == 1
    assert found.ranks[:, 0].tolist() == [1, 1]


def test_one_study_drawn_of_two_has_the_known_distribution():
    trials = [hit_at("a", "w", 10, study=1), hit_at("a", "w", 30, study=2)]
    board = score(trials, "v0.5", targets=targets("w"))
    found = bootstrap(board, num_resamples=4000, level=0.4)
    # The median of two draws is 10 (1/4), 20 (1/2) or 30 (1/4).
    assert found.seconds["a"]["w"] == (20.0, 20.0)
    assert bootstrap(board, num_resamples=4000).seconds["a"]["w"] == (10.0, 30.0)


def test_trials_are_drawn_within_their_studies():
    trials = [hit_at("a", "w", t, number=i) for i, t in enumerate((10, math.inf))]
    board = score(trials, "v0.5", targets=targets("w"), tuning="external")
    # One time in four both draws are the miss.
    assert bootstrap(board, num_resamples=500).seconds["a"]["w"] == (10.0, math.inf)


def test_speedups_have_intervals_where_a_reference_is_given(board: Leaderboard):
    found = bootstrap(board, num_resamples=50)
    assert found.speedups["baseline"] == (1.0, 1.0)
    low, high = found.speedups["adamg"]
    assert 0 < low <= high < 1


@pytest.mark.parametrize("wrong", [{"num_resamples": 0}, {"level": 1.0}])
def test_wrong_settings_are_refused(board: Leaderboard, wrong: dict):
    with pytest.raises(BadSettings):
        bootstrap(board, **wrong)
