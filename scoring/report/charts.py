"""The charts of a report: performance profiles, and runs of a workload with their times."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from algoperf.definition import Target
from algoperf.logs import SUBMISSION_SECONDS, Trial

from .. import drawing
from ..drawing import Scale
from ..figures import Chart
from ..leaderboard import Leaderboard
from ..profiles import profile_steps
from ..tables import TIMES, duration
from ..times import Measure
from .document import TimeUnit, time_unit

_MEASURE_WORDS = {"seconds": "time", "steps": "steps"}
_PROFILE_SIZE = (440, 320)
_WORKLOAD_WIDTH = 380
_LEFT, _RIGHT = 46.0, 334.0  # of the panels of a workload's chart
_PANEL_TOP, _PANEL_BOTTOM = 38.0, 196.0
# Curves are shown until this multiple of the slowest time to target.
_SHOWN_TIME = 1.5
# Values are shown up to this multiple of their median distance from the target.
_SHOWN_DISTANCE = 3.5
_ROW = 15.0  # height of a submission's row of times


def profile_chart(board: Leaderboard, measure: Measure) -> Chart:
    """Share of base workloads solved within a factor of the best, by submission."""
    limit = board.pool.ruleset.max_performance_ratio
    width, height = _PROFILE_SIZE
    x = Scale(1.0, limit, 48, width - 16)
    y = Scale(0.0, 1.0, height - 46, 22)
    what = _MEASURE_WORDS[measure]
    parts = [
        drawing.y_axis(y, x.start, x.end),
        drawing.x_axis(
            x, y.end, y.start, f"{what} to target, as a multiple of the best", 7
        ),
        drawing.text(x.start, 12, "share of base workloads", kind="name"),
    ]
    # The first submissions are drawn last, so that they lie on top.
    ratios = list(enumerate(board.ratios(measure).values()))
    parts += [_profile(board, series, of, x, y) for series, of in reversed(ratios)]
    return Chart(
        title=f"By {what}",
        description=(
            f"Step curves from 1 to {limit:g} times the best {what} to target; higher is "
            f"better. {len(board.entries)} submissions on {len(board.pool.bases)} base "
            "workloads. The table of performance ratios has the same numbers."
        ),
        width=width,
        height=height,
        body="".join(parts),
    )


def _profile(
    board: Leaderboard, series: int, ratios: np.ndarray, x: Scale, y: Scale
) -> str:
    taus, shares = profile_steps(ratios, x.high)
    corners = drawing.step_path(taus.tolist(), shares.tolist(), x, y)
    parts = [drawing.path(corners, series, "profile", dashed=True)]
    for tau, share in zip(taus.tolist(), shares.tolist(), strict=True):
        here = [
            name
            for name, ratio in zip(board.pool.bases, ratios.tolist(), strict=True)
            if ratio == tau
        ]
        if here:
            tip = (
                f"{board.entries[series].submission}\n{tau:.3f} {TIMES} the best: "
                f"{', '.join(here)}\n{round(share * len(ratios))} of {len(ratios)} "
                "workloads so far"
            )
            parts.append(drawing.dot(x.at(tau), y.at(share), series, tip))
    return drawing.group(series, parts)


def workload_chart(
    board: Leaderboard, workload: str, study_seconds: np.ndarray
) -> Chart:
    """Validation curves of the chosen trials above the times to target of the studies.

    study_seconds: [submission, study] in the leaderboard's order; infinity is a miss.
    """
    target = board.pool.target(workload)
    runs = {
        series: chosen_trials(board, entry.submission, workload)
        for series, entry in enumerate(board.entries)
    }
    curves = {
        series: [_curve(trial, target) for trial in trials]
        for series, trials in runs.items()
    }
    longest = _longest(curves, study_seconds)
    unit = time_unit(longest)
    x = Scale(0.0, longest / unit.seconds, _LEFT, _RIGHT)
    y = _value_scale(curves, target, longest)
    rows_top = _PANEL_BOTTOM + 12
    bottom = rows_top + _ROW * len(board.entries)
    parts = [
        drawing.y_axis(y, _LEFT, _RIGHT, 4),
        drawing.x_axis(x, _PANEL_TOP, bottom, f"submission time, {unit.plural}"),
        *_heading(target),
        _curves(curves, x, y, unit),
        drawing.line(*_across(y.at(target.validation)), "target"),
        *(
            _times_row(series, entry.submission, row, x, rows_top, unit)
            for series, (entry, row) in enumerate(
                zip(board.entries, study_seconds, strict=True)
            )
        ),
    ]
    held_out = workload in board.pool.held_out
    return Chart(
        title=workload,
        subtitle="held out" if held_out else "",
        description=_description(board, workload, target, study_seconds),
        width=_WORKLOAD_WIDTH,
        height=math.ceil(bottom + 38),
        body="".join(parts),
    )


def chosen_trials(board: Leaderboard, submission: str, workload: str) -> list[Trial]:
    """Of each study the trial that was first at the validation target, else the best."""
    target = board.pool.target(workload)
    studies = board.pool.studies.get((submission, workload), {})
    return [
        min(studies[number], key=lambda trial: _order(board, trial, target))
        for number in sorted(studies)
    ]


def _order(board: Leaderboard, trial: Trial, target: Target) -> tuple[float, float]:
    seconds = board.hits.validation[trial.id].seconds
    if math.isfinite(seconds):
        return seconds, 0.0
    values = trial.metric(f"validation/{target.metric}")
    values = values[np.isfinite(values)]
    if not len(values):
        return seconds, math.inf
    return seconds, target.cost(values).min()


def _curve(trial: Trial, target: Target) -> tuple[np.ndarray, np.ndarray]:
    """[evaluation] seconds and validation values."""
    if not trial.num_evaluations:
        return np.empty(0), np.empty(0)
    values = trial.metric(f"validation/{target.metric}")
    return trial.columns[SUBMISSION_SECONDS], values


_Curves = Mapping[int, Sequence[tuple[np.ndarray, np.ndarray]]]


def _longest(curves: _Curves, study_seconds: np.ndarray) -> float:
    """Seconds until which curves are shown."""
    ends = [float(of[-1]) for runs in curves.values() for of, _ in runs if len(of)]
    end = max(ends, default=0.0)
    times = study_seconds[np.isfinite(study_seconds)]
    if len(times):
        slowest = float(times.max())
        end = max(min(end, _SHOWN_TIME * slowest), slowest)
    return end or 1.0


def _value_scale(curves: _Curves, target: Target, end: float) -> Scale:
    """Fits the values around the target: early or diverging ones would flatten the rest."""
    shown = [values[seconds <= end] for of in curves.values() for seconds, values in of]
    values = np.concatenate([*shown, [target.validation]])
    values = values[np.isfinite(values)]
    distance = float(np.median(np.abs(values - target.validation)))
    reach = _SHOWN_DISTANCE * distance or 0.05 * abs(target.validation) or 1.0
    low = max(float(values.min()), target.validation - reach)
    high = min(float(values.max()), target.validation + reach)
    space = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Scale(low - space, high + space, _PANEL_BOTTOM, _PANEL_TOP)


def _curves(curves: _Curves, x: Scale, y: Scale, unit: TimeUnit) -> str:
    """Nested in an element of its own that cuts off what is out of range."""
    panel = _PANEL_BOTTOM - _PANEL_TOP
    inner_x = Scale(x.low, x.high, 0.0, x.end - x.start)
    inner_y = Scale(y.low, y.high, panel, 0.0)
    parts = [
        f'<svg x="{drawing.place(_LEFT)}" y="{drawing.place(_PANEL_TOP)}" '
        f'width="{drawing.place(x.end - x.start)}" height="{drawing.place(panel)}">'
    ]
    for series in sorted(curves, reverse=True):
        paths = [
            drawing.path(corners, series, "curve")
            for seconds, values in curves[series]
            if (
                corners := drawing.curve_path(
                    seconds / unit.seconds, values, inner_x, inner_y
                )
            )
        ]
        if paths:
            parts.append(drawing.group(series, paths))
    return "".join([*parts, "</svg>"])


def _heading(target: Target) -> list[str]:
    """What the curves are, and what the dashed line is."""
    words = f"validation {target.metric}, {target.better} is better"
    return [
        drawing.text(_LEFT, 11, words, kind="name"),
        drawing.line(_LEFT, 22, _LEFT + 22, 22, "target"),
        drawing.text(_LEFT + 28, 26, f"target {target.validation:.5g}", kind="target"),
    ]


def _across(y: float) -> tuple[float, float, float, float]:
    """A line over the width of the panels."""
    return _LEFT, y, _RIGHT, y


def _times_row(
    series: int,
    submission: str,
    seconds: np.ndarray,
    x: Scale,
    top: float,
    unit: TimeUnit,
) -> str:
    """A dot for each study that reached the target; how many did not."""
    y = top + (series + 0.5) * _ROW
    parts = [
        drawing.line(x.start, y, x.end, y, "row"),
        drawing.text(x.start - 7, y + 4, str(series + 1), anchor="end", kind="tick"),
    ]
    reached = sorted(time for time in seconds.tolist() if math.isfinite(time))
    places = [x.at(time / unit.seconds) for time in reached]
    if len(places) > 1:
        first, last = drawing.place(places[0]), drawing.place(places[-1])
        corners = f"M{first} {drawing.place(y)}H{last}"
        parts.append(drawing.path(corners, series, "spread"))
    for time, at in zip(reached, places, strict=True):
        tip = f"{submission}\ntarget reached after {duration(time)}"
        parts.append(drawing.dot(at, y, series, tip))
    missed = len(seconds) - len(reached)
    if missed:
        words = f"{missed}/{len(seconds)} {TIMES}"
        parts.append(drawing.text(x.end + 6, y + 4, words, kind="tick"))
    return drawing.group(series, parts)


def _description(
    board: Leaderboard, workload: str, target: Target, study_seconds: np.ndarray
) -> str:
    reached = [
        f"{entry.submission} in {int(np.isfinite(row).sum())} of {len(row)} studies"
        for entry, row in zip(board.entries, study_seconds, strict=True)
    ]
    return (
        f"Above, validation {target.metric} over submission time, one curve for "
        f"each study's chosen trial, with the target {target.validation:.5g} "
        f"({target.better} is better). Below, the times to target of the studies, a row "
        f"for each submission: {'; '.join(reached)}."
    )
