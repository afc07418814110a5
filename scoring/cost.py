"""What the results cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.evaluations import (
    EVALUATION_SECONDS,
    LOGGING_SECONDS,
    SUBMISSION_SECONDS,
    TOTAL_SECONDS,
)
from algoperf.logs import Trial

from .leaderboard import Leaderboard
from .times import median, study_times


@dataclass(frozen=True)
class Cost:
    """Time of one machine and shares that were not training; NaN if not logged."""

    total_seconds: float
    submission_seconds: float
    evaluation_share: float
    logging_share: float


def last(trial: Trial, column: str) -> float:
    """The last logged value of a counter; NaN if there is none."""
    values = trial.columns.get(column)
    return float(values[-1]) if values is not None and len(values) else math.nan


def total_seconds(trial: Trial) -> float:
    """Wall time until the last evaluation; else the submission time."""
    total = last(trial, TOTAL_SECONDS)
    return total if math.isfinite(total) else last(trial, SUBMISSION_SECONDS)


def cost(trials: Sequence[Trial]) -> Cost:
    """What `trials` cost together, until their last evaluations."""
    started = [trial for trial in trials if trial.num_evaluations]
    seconds = math.fsum(total_seconds(trial) for trial in started)

    def share(column: str) -> float:
        spent = math.fsum(last(trial, column) for trial in started)
        return spent / seconds if seconds else math.nan

    submission = math.fsum(last(trial, SUBMISSION_SECONDS) for trial in started)
    return Cost(
        seconds,
        submission,
        share(EVALUATION_SECONDS),
        share(LOGGING_SECONDS),
    )


def costs(board: Leaderboard) -> dict[str, Cost]:
    """Cost by submission, in the leaderboard's order."""
    names = [entry.submission for entry in board.entries]
    return {name: cost(board.pool.trials(name)) for name in names}


@dataclass(frozen=True)
class TuningCost:
    """After k = 1, 2, ... trials in the trials' order; medians over studies."""

    submission: str
    workload: str
    hours_spent: np.ndarray  # [k] wall hours of the first k trials
    seconds_to_target: (
        np.ndarray
    )  # [k] time of the trial that would be chosen; infinity: none


def tuning_cost(board: Leaderboard, submission: str, workload: str) -> TuningCost:
    """What the first k trials of a study cost, and how good the best of them is."""
    pool = board.pool
    table = board.hits.table("seconds", compat=board.compat)
    s, w = pool.submissions.index(submission), pool.scored_workloads.index(workload)
    chosen, scored = table.chosen_by[s, w], table.scored[s, w]  # [study, trial]
    studies = pool.studies.get((submission, workload), {})
    spent = np.zeros(chosen.shape)
    for k, number_ in enumerate(sorted(studies)):
        for t, trial in enumerate(studies[number_]):
            spent[k, t] = np.nan_to_num(total_seconds(trial)) / 3600
    hours = np.median(spent.cumsum(axis=1), axis=0)
    return TuningCost(submission, workload, hours, _times_after(chosen, scored))


def _times_after(chosen: np.ndarray, scored: np.ndarray) -> np.ndarray:
    return np.array(
        [
            float(median(study_times(chosen[:, :k], scored[:, :k])))
            for k in range(1, chosen.shape[1] + 1)
        ]
    )
