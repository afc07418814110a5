"""What the analyses look at: the best value of each trial, by hyperparameter point."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.definition import Target
from algoperf.errors import BadLogs
from algoperf.logs import Trial

from ..leaderboard import Leaderboard


@dataclass(frozen=True)
class Best:
    """The evaluation with the best validation value; NaN if none is finite."""

    validation: float
    test: float
    seconds: float


def best_evaluation(trial: Trial, target: Target) -> Best:
    """The best finite validation value of a trial, with what was logged beside it."""
    values = trial.metric(f"validation/{target.metric}")
    finite = np.flatnonzero(np.isfinite(values))
    if not len(finite):
        return Best(math.nan, math.nan, math.nan)
    at = int(finite[np.argmin(target.cost(values[finite]))])
    test = trial.metric(f"test/{target.metric}")
    seconds = trial.columns["accumulated_submission_time"]
    return Best(float(values[at]), float(test[at]), float(seconds[at]))


def point_key(trial: Trial) -> str:
    """A name for the trial's hyperparameter point: equal points have equal names."""
    if not trial.hyperparameters:
        raise BadLogs(
            f"{trial.folder} records no hyperparameters (hparams.json); this analysis "
            "compares points of a search space across workloads, so it needs logs of "
            "external tuning."
        )
    return json.dumps(dict(trial.hyperparameters), sort_keys=True)


def values_by_point(
    board: Leaderboard, submission: str
) -> tuple[list[str], list[str], np.ndarray]:
    """Points, workloads and [point, workload] best validation values of a submission.

    Of several trials of a point the median; NaN where a point was not run or diverged.
    """
    pool = board.pool
    found: dict[tuple[str, str], list[float]] = {}
    for trial in pool.trials(submission):
        target = pool.target(trial.id.workload)
        value = best_evaluation(trial, target).validation
        found.setdefault((point_key(trial), trial.id.workload), []).append(value)
    points = sorted({point for point, _ in found})
    workloads = [
        name for name in pool.scored_workloads if any(name == w for _, w in found)
    ]
    values = np.full((len(points), len(workloads)), math.nan)
    for (point, workload), of_point in found.items():
        values[points.index(point), workloads.index(workload)] = np.median(of_point)
    return points, workloads, values


def as_costs(values: np.ndarray, targets: Sequence[Target]) -> np.ndarray:
    """[point, workload] turned so that less is better, NaN the worst; targets by column."""
    columns = [target.cost(values[:, i]) for i, target in enumerate(targets)]
    costs = np.stack(columns, axis=1) if columns else values
    return np.where(np.isfinite(costs), costs, math.inf)


def targets_of(board: Leaderboard, workloads: Sequence[str]) -> list[Target]:
    """The target of each workload."""
    return [board.pool.target(name) for name in workloads]


def short_points(points: Sequence[str]) -> Mapping[str, str]:
    """`point 1`, `point 2`, ... by a point's key."""
    return {point: f"point {i}" for i, point in enumerate(points, start=1)}
