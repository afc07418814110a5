"""Scores under other conditions."""

import math

import numpy as np
import pytest
from scoring_cases import (
    PUBLISHED_TARGETS,
    hit_at,
    published_board,
    published_trials,
    targets,
)

from algoperf.logs import Trial
from algoperf.scoring import sensitivity
from algoperf.scoring.leaderboard import Leaderboard, score


@pytest.fixture
def board() -> Leaderboard:
    return published_board()


@pytest.fixture
def published() -> list[Trial]:
    return published_trials()


def test_leaving_one_out_scores_the_smaller_pool(published, board: Leaderboard):
    without = [t for t in published if t.id.submission != "baseline"]
    expected = score(without, "v0.5", targets=PUBLISHED_TARGETS).scores
    found = sensitivity.leave_one_out(board)
    row = found.scores[found.conditions.index("without baseline")]
    by_name = dict(zip(found.submissions, row, strict=True))
    assert math.isnan(by_name.pop("baseline"))
    assert by_name == expected


def test_leaving_out_the_only_submission_changes_nothing():
    board = score([hit_at("a", "w", 1)], "v0.5", targets=targets("w"))
    assert sensitivity.leave_one_out(board).scores[0].tolist() == [1.0]


def test_the_rulesets_own_limit_gives_the_scores(board: Leaderboard):
    found = sensitivity.by_ratio_limit(board)
    row = found.scores[found.conditions.index("r_max 4")]
    np.testing.assert_allclose(row, list(board.scores.values()), atol=1e-12)


def test_all_studies_give_the_scores(board: Leaderboard):
    found = sensitivity.by_num_studies(board)
    assert len(found.conditions) == 5
    np.testing.assert_allclose(found.scores[-1], list(board.scores.values()))


def test_without_held_out_workloads_nobody_scores_less(board: Leaderboard):
    found = sensitivity.by_held_out_rule(board)
    assert found.scores[0].tolist() == list(board.scores.values())
    nadamw = found.submissions.index("nadamw_sequential")
    assert found.scores[1, nadamw] > found.scores[0, nadamw]


def test_compat_is_kept(published):
    board = score(published, "v0.5", targets=PUBLISHED_TARGETS, compat=True)
    found = sensitivity.by_held_out_rule(board)
    np.testing.assert_allclose(found.scores[0], list(board.scores.values()))
