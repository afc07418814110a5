"""What the runner writes is what scoring reads."""

import dataclasses

import pytest

from algoperf import logs
from algoperf.errors import BadLogs
from algoperf.runner import experiment
from algoperf.scoring.leaderboard import score


def test_trials_of_the_toy_benchmark_are_scored(toy):
    for name in ("sgd", "other"):
        experiment.run(toy(experiment_name=name))
    board = score(logs.read(toy().experiment_dir), "paper")
    assert set(board.scores) == {"other", "sgd"}  # which is faster, nobody knows
    assert board.pool.tier == "development"
    assert (board.pool.tuning, board.pool.num_trials) == ("external", 2)
    assert board.entries[0].score == 1.0
    assert not any("hardware" in warning for warning in board.warnings)


def test_a_trial_without_an_end_is_listed_and_does_not_count(toy):
    for name in ("sgd", "other"):
        experiment.run(toy(experiment_name=name, num_trials=1))
    trials = logs.read(toy().experiment_dir)
    running = [
        dataclasses.replace(t, ended=None) if t.id.submission == "other" else t
        for t in trials
    ]
    board = score(running, "paper")
    assert board.scores == {"sgd": 1.0, "other": 0.0}
    assert any("still running or were cut off" in warning for warning in board.warnings)


def test_a_board_of_trials_without_an_end_is_an_error(toy):
    settings = toy(num_trials=1)
    experiment.run(settings)
    for file in settings.experiment_dir.rglob("outcome.json"):
        file.unlink()
    with pytest.raises(
        BadLogs, match=r"trial_1 is unfinished: it has no outcome\.json"
    ):
        score(logs.read(settings.experiment_dir), "paper")
