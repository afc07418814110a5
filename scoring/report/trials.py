"""Every trial with its point, outcome, best value and time, and what tuning shows."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from algoperf.definition import Target
from algoperf.logs import Trial

from ..analysis.values import best_evaluation
from ..cost import last
from ..drawing import Tick, exponent_ticks
from ..figures import Chart, Charts, Curve, Figure, Mark
from ..leaderboard import Leaderboard
from ..outcomes import ORDINARY, outcome_name
from ..tables import duration
from . import dates, points
from .curves import range_near
from .document import (
    NONE,
    Cell,
    Column,
    DataTable,
    Section,
    count_cell,
    duration_cell,
    text_cell,
)

_MOST_TRIALS = 4_000  # of all submissions together; more would make a page unwieldy
_FEWEST = 100  # of each submission, however many there are
_LONGEST_TEXT = 24  # of a value that is a text, on an axis


def trials_section(board: Leaderboard) -> Section:
    """A table for each submission, a row for each of its trials."""
    return Section(
        "trials",
        "All trials",
        "Each trial with the best validation value that it reached, the submission time at "
        "which it reached the validation target, and the submission time it used in all.",
        [
            _trials_table(board, number, entry.submission)
            for number, entry in enumerate(board.entries, start=1)
        ],
    )


def listed_trials(board: Leaderboard, submission: str) -> list[Trial]:
    """Those of a submission's trials that a report shows: all, or the first ones."""
    most = max(_FEWEST, _MOST_TRIALS // len(board.entries))
    return board.pool.trials(submission)[:most]


def _trials_table(board: Leaderboard, number: int, submission: str) -> DataTable:
    trials = listed_trials(board, submission)
    names = points.varied(trials)
    rows = [_row(board, trial, names) for trial in trials]
    columns = [
        Column("workload", is_numeric=False),
        Column("study"),
        Column("trial"),
        *(Column(name, is_numeric=_is_numeric(trials, name)) for name in names),
        Column("outcome", is_numeric=False),
        Column("best value"),
        Column("time to target"),
        Column("time used"),
        Column("steps"),
        Column("ended", is_numeric=False),
        Column("marks", is_numeric=False),
    ]
    kept = [i for i in range(len(columns)) if i < 3 or any(row[i].text for row in rows)]
    return DataTable(
        f"trials_{number}",
        f"Trials of {submission}",
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        _note(board, submission, trials),
        is_long=True,
    )


def _is_numeric(trials: Sequence[Trial], name: str) -> bool:
    found = [(trial.hyperparameters or {}) for trial in trials]
    return all(points.is_number(point[name]) for point in found if name in point)


def _row(board: Leaderboard, trial: Trial, names: Sequence[str]) -> list[Cell]:
    workload = board.pool.workloads[trial.id.workload]
    hit = board.hits.validation[trial.id]
    point = trial.hyperparameters or {}
    steps = last(trial, "global_step")
    outcome = outcome_name(trial, workload, hit)
    is_plain = outcome in ORDINARY
    return [
        text_cell(trial.id.workload),
        count_cell(trial.id.study),
        count_cell(trial.id.trial),
        *(points.cell(point, name) for name in names),
        Cell(outcome, outcome, detail="" if is_plain else trial.reason),
        _best_cell(trial, workload.target),
        duration_cell(hit.seconds),
        duration_cell(last(trial, "accumulated_submission_time")),
        count_cell(int(steps)) if math.isfinite(steps) else Cell(NONE),
        _ended_cell(trial),
        text_cell("; ".join(_marks(trial))),
    ]


def _best_cell(trial: Trial, target: Target) -> Cell:
    value = best_evaluation(trial, target).validation
    if not math.isfinite(value):
        return Cell(NONE)
    return Cell(f"{value:.5g}", value, detail=f"validation {target.metric}")


def _ended_cell(trial: Trial) -> Cell:
    moment = dates.moment(trial.ended.ended if trial.ended else None)
    return text_cell(f"{moment:%Y-%m-%d %H:%M}" if moment else "")


def _marks(trial: Trial) -> Iterator[str]:
    """What to know of a trial before comparing it with others."""
    if trial.ended:
        yield from trial.ended.caveats
    if trial.verification:
        yield trial.verification.status.value


def _note(board: Leaderboard, submission: str, trials: Sequence[Trial]) -> str:
    parts = []
    if same := points.fixed(trials):
        listed = ", ".join(f"{name} {value}" for name, value in same.items())
        parts.append(f"The same in all trials: {listed}.")
    if any(trial.ended and trial.ended.ended for trial in trials):
        parts.append("Dates are in UTC.")
    left_out = len(board.pool.trials(submission)) - len(trials)
    if left_out:
        parts.append(f"{left_out:,} more are not listed.")
    return " ".join(parts)


def tuning_section(
    board: Leaderboard, workloads: Sequence[str] | None = None
) -> Section | None:
    """Best values by each hyperparameter; None where no hyperparameter differs.

    workloads: those that are shown; else all.
    """
    shown = board.pool.scored_workloads if workloads is None else workloads
    names = [entry.submission for entry in board.entries]
    trials = {name: listed_trials(board, name) for name in names}
    varied = {name: points.varied(of) for name, of in trials.items()}
    groups = ((w, _tuning_charts(board, w, trials, varied)) for w in shown)
    blocks = [
        _folded(board, workload, charts, is_only=len(shown) == 1)
        for workload, charts in groups
        if charts
    ]
    if not blocks:
        return None
    return Section(
        "tuning",
        "Tuning",
        "The best validation value of each trial against each hyperparameter that differs "
        "between the trials of a submission. The dashed line is the validation target. Values "
        "far from the target lie at the edge.",
        blocks,
    )


def _folded(
    board: Leaderboard, workload: str, charts: list[Chart], *, is_only: bool
) -> Charts:
    metric = board.pool.target(workload).metric
    fold = "" if is_only else f"{workload}: validation {metric}"
    return Charts(charts, [entry.submission for entry in board.entries], fold=fold)


def _tuning_charts(
    board: Leaderboard,
    workload: str,
    trials: Mapping[str, Sequence[Trial]],
    varied: Mapping[str, Sequence[str]],
) -> list[Chart]:
    target = board.pool.target(workload)
    shown = {
        name: [trial for trial in of if trial.id.workload == workload]
        for name, of in trials.items()
    }
    parameters = sorted({name for of in varied.values() for name in of})
    charts = []
    for parameter in parameters:
        chosen = {
            name: [t for t in of if parameter in (t.hyperparameters or {})]
            for name, of in shown.items()
            if parameter in varied[name]
        }
        if any(chosen.values()):
            charts.append(_tuning_chart(board, target, parameter, chosen))
    return charts


def _tuning_chart(
    board: Leaderboard,
    target: Target,
    parameter: str,
    trials: Mapping[str, Sequence[Trial]],
) -> Chart:
    names = [entry.submission for entry in board.entries]
    values = [_value(t, parameter) for of in trials.values() for t in of]
    axis = points.PointAxis.of(values)
    curves, best = [], []
    for name, of in trials.items():
        y = [best_evaluation(trial, target).validation for trial in of]
        best += y
        tips = [_tip(board, name, t, parameter, v) for t, v in zip(of, y, strict=True)]
        x = [axis.at(_value(trial, parameter)) for trial in of]
        curves.append(Curve(names.index(name), x, y, "points", tips))
    finite = [value for value in best if math.isfinite(value)]
    x_range, ticks = _axis_range(axis, values)
    return Figure(
        title=parameter,
        description=(
            f"The best validation {target.metric} of {len(finite)} trials by their "
            f"{parameter}, with the target {target.validation:.5g} as a dashed line; the "
            "tables of all trials have the numbers."
        ),
        subtitle=f"{target.better} is better",
        x_label=parameter + (" (logarithmic)" if axis.is_log else ""),
        y_label=f"best validation {target.metric}",
        curves=curves,
        x_range=x_range,
        y_range=range_near(np.array([*finite, target.validation]), target),
        marks=[Mark("y", target.validation)],
        x_ticks=ticks,
    ).chart()


def _value(trial: Trial, parameter: str) -> Any:
    return (trial.hyperparameters or {})[parameter]


def _axis_range(
    axis: points.PointAxis, values: Sequence[Any]
) -> tuple[tuple[float, float], Sequence[Tick]]:
    """The ends of the horizontal axis with some space, and its numbers or words."""
    if axis.categories:
        words = [text[:_LONGEST_TEXT] for text in axis.categories]
        ticks = [(float(place), text) for place, text in enumerate(words)]
        return (-0.5, len(words) - 0.5), ticks
    places = [axis.at(value) for value in values]
    low, high = min(places), max(places)
    space = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    ends = (low - space, high + space)
    if not axis.is_log:
        return ends, ()
    return ends, exponent_ticks(*ends)


def _tip(
    board: Leaderboard, name: str, trial: Trial, parameter: str, value: float
) -> str:
    hit = board.hits.validation[trial.id]
    reached = (
        f"target reached after {duration(hit.seconds)}"
        if math.isfinite(hit.seconds)
        else "target not reached"
    )
    return (
        f"{name}, study {trial.id.study}, trial {trial.id.trial}\n"
        f"{parameter}: {points.written(_value(trial, parameter))}\n"
        f"best value: {value:.5g}, {reached}"
    )
