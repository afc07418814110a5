"""Crossing training curves: why a time to target needs a target (paper, figure 1).

Of each submission the run of its median study is shown, and between every two of them
the times at which their order changes.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.definition import Target
from algoperf.logs import SUBMISSION_SECONDS, Trial

from ..figures import Chart, Charts, Curve, Figure, Mark
from ..leaderboard import Leaderboard
from ..report.document import Section, time_unit
from ..tables import DataTable, duration, plain_table
from ..times import first_hit
from .values import best_evaluation


@dataclass(frozen=True)
class Crossing:
    """How two curves go about each other, in seconds of submission time."""

    times: np.ndarray  # at which their order changes, between linear interpolations
    reached: tuple[float, float]  # when each reached the target; infinity: never


def crossings(a: Trial, b: Trial, target: Target) -> Crossing:
    """When the validation curves of two trials cross, over the time that both cover."""
    xa, ya = _curve(a, target)
    xb, yb = _curve(b, target)
    reached = tuple(first_hit(t, target, "validation").seconds for t in (a, b))
    if not len(xa) or not len(xb):
        return Crossing(np.empty(0), (reached[0], reached[1]))
    start, end = max(xa[0], xb[0]), min(xa[-1], xb[-1])
    grid = np.unique(np.concatenate([xa, xb, [start, end]]))
    grid = grid[(grid >= start) & (grid <= end)]
    difference = np.interp(grid, xa, ya) - np.interp(grid, xb, yb)
    grid, difference = grid[difference != 0], difference[difference != 0]
    left = np.flatnonzero(np.sign(difference[:-1]) != np.sign(difference[1:]))
    before, after = difference[left], difference[left + 1]
    share = before / (before - after)
    return Crossing(
        grid[left] + share * (grid[left + 1] - grid[left]), (reached[0], reached[1])
    )


def report(board: Leaderboard) -> Section:
    """A table of all pairs and a chart of all curves for each base workload."""
    names = [entry.submission for entry in board.entries]
    tables, charts = [], []
    for workload in board.pool.bases:
        target = board.pool.target(workload)
        runs = {
            entry.submission: trial
            for entry in board.entries
            if (trial := median_run(board, entry.submission, workload)) is not None
        }
        if runs:
            tables.append(_table(workload, target, runs))
            charts.append(_chart(workload, target, runs, names))
    return Section(
        "crossing",
        "Crossing training curves",
        "Of each submission the run of its median study. Where curves cross, which "
        "submission is faster depends on the target.",
        [Charts(charts, names, is_dashed=True), *tables],
    )


def median_run(board: Leaderboard, submission: str, workload: str) -> Trial | None:
    """The best trial of the study in the middle, by time to the validation target."""
    target = board.pool.target(workload)
    studies = board.pool.studies.get((submission, workload), {})
    best = [
        min(study, key=lambda trial: _quality(trial, target))
        for study in studies.values()
    ]
    ordered = sorted(best, key=lambda trial: _quality(trial, target))
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def _quality(trial: Trial, target: Target) -> tuple[float, float]:
    """Sorts by time to the target, then by the best validation value."""
    value = best_evaluation(trial, target).validation
    cost = target.cost(value)
    seconds = first_hit(trial, target, "validation").seconds
    return seconds, cost if math.isfinite(cost) else math.inf


def _curve(trial: Trial, target: Target) -> tuple[np.ndarray, np.ndarray]:
    values = trial.metric(f"validation/{target.metric}")
    finite = np.isfinite(values)
    if not finite.any():
        return np.empty(0), np.empty(0)
    return trial.columns[SUBMISSION_SECONDS][finite], values[finite]


def _table(workload: str, target: Target, runs: Mapping[str, Trial]) -> DataTable:
    rows = []
    for a, b in itertools.combinations(runs, 2):
        found = crossings(runs[a], runs[b], target)
        last = duration(float(found.times[-1])) if len(found.times) else "-"
        times = [duration(seconds) for seconds in found.reached]
        rows.append([f"{a} / {b}", *times, str(len(found.times)), last])
    header = ["pair", "first reached", "second reached", "crossings", "last one"]
    title = f"{workload}: validation {target.metric}, target {target.validation:g}"
    return plain_table(f"crossing_{workload}", title, header, rows)


def _chart(
    workload: str, target: Target, runs: Mapping[str, Trial], names: Sequence[str]
) -> Chart:
    found = {name: _curve(trial, target) for name, trial in runs.items()}
    longest = max((float(s[-1]) for s, _ in found.values() if len(s)), default=0.0)
    unit = time_unit(longest)
    curves = [
        Curve(
            names.index(name),
            (seconds / unit.seconds).tolist(),
            values.tolist(),
            kind="line",
        )
        for name, (seconds, values) in found.items()
    ]
    # The start of training would flatten everything that follows.
    values = np.concatenate([*(curve.y[1:] for curve in curves), [target.validation]])
    ends = target.cost(np.quantile(target.cost(values), (0.0, 0.85)))
    low, high = sorted(ends.tolist())
    low, high = min(low, target.validation), max(high, target.validation)
    space = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return Figure(
        title=workload,
        description=(
            f"Validation {target.metric} over {unit.plural} of submission time for the median "
            f"run of each of {len(curves)} submissions, with the target "
            f"{target.validation:g}."
        ),
        x_label=f"submission time, {unit.plural}",
        y_label=f"validation {target.metric}",
        subtitle=f"{target.better} is better",
        curves=curves,
        y_range=(low - space, high + space),
        marks=[Mark("y", target.validation, "target")],
    ).chart()
