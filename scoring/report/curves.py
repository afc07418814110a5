"""The chart of a workload: training curves above the times to target of the studies.

It has four views, time or steps by linear or logarithmic values, which a page can switch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.definition import Target
from algoperf.logs import STEP, SUBMISSION_SECONDS, Trial

from .. import drawing
from ..drawing import Scale, Tick
from ..figures import Axis, Chart, Switch, plot
from ..leaderboard import Leaderboard
from ..tables import TIMES, duration
from ..times import MEASURES, Measure
from .document import time_unit

_WIDTH = 380
_LEFT, _RIGHT = 58.0, 338.0  # of the panels
_EDGE = 4.0  # of the heading
_PANEL_TOP, _PANEL_BOTTOM = 40.0, 198.0
# Curves are shown until this multiple of the slowest time to target.
_SHOWN_TIME = 1.5
# Values are shown up to this multiple of their median distance from the target.
_SHOWN_DISTANCE = 3.5
_ROW = 16.0  # height of a submission's row of times
_COLUMNS = {"seconds": SUBMISSION_SECONDS, "steps": STEP}
_SCALES = ("linear", "log")
SWITCHES = (
    Switch("Horizontal axis", (("seconds", "time"), ("steps", "steps"))),
    Switch("Values", (("linear", "linear"), ("log", "logarithmic"))),
)


@dataclass(frozen=True)
class _Curve:
    """A trial's validation values over time or steps, [evaluation] each."""

    label: str
    x: np.ndarray
    values: np.ndarray


_Curves = Mapping[int, Sequence[_Curve]]  # by submission, in the leaderboard's order


@dataclass(frozen=True)
class _Unit:
    """What the horizontal axis counts in."""

    label: str
    size: float

    @classmethod
    def of(cls, measure: Measure, longest: float) -> "_Unit":
        if measure == "steps":
            return cls("steps", 1.0)
        unit = time_unit(longest)
        return cls(f"submission time, {unit.plural}", unit.seconds)


def workload_chart(board: Leaderboard, workload: str) -> Chart:
    """Validation curves of the chosen trials above the times to target of the studies."""
    views = {}
    for measure in MEASURES:
        panel = _Panel.of(board, workload, measure)
        for scale in _SCALES:
            views[f"{measure} {scale}"] = panel.body(scale)
    held_out = workload in board.pool.held_out
    return Chart(
        title=workload,
        subtitle="held out" if held_out else "",
        description=_description(board, workload),
        width=_WIDTH,
        height=math.ceil(_rows_top() + _ROW * len(board.entries) + 38),
        body=views["seconds linear"],
        views=views,
    )


def chosen_trials(
    board: Leaderboard, submission: str, workload: str, measure: Measure = "seconds"
) -> list[Trial]:
    """Of each study the trial that was first at the validation target, else the best."""
    target = board.pool.target(workload)
    studies = board.pool.studies.get((submission, workload), {})

    def order(trial: Trial) -> tuple[float, float]:
        first: float = getattr(board.hits.validation[trial.id], measure)
        if math.isfinite(first):
            return first, 0.0
        values = trial.metric(f"validation/{target.metric}")
        values = values[np.isfinite(values)]
        return first, target.cost(values).min() if len(values) else math.inf

    return [min(studies[number], key=order) for number in sorted(studies)]


def study_values(board: Leaderboard, workload: str, measure: Measure) -> np.ndarray:
    """[submission, study] time or steps to target, in the leaderboard's order."""
    table = board.hits.table(measure, compat=board.compat)
    order = [table.submissions.index(entry.submission) for entry in board.entries]
    values: np.ndarray = table.study_times()[order]
    return values[:, table.workloads.index(workload)]


def _rows_top() -> float:
    return _PANEL_BOTTOM + 12


@dataclass(frozen=True)
class _Panel:
    """What one measure shows of a workload."""

    target: Target
    measure: Measure
    names: Sequence[str]
    curves: _Curves
    reached: np.ndarray  # [submission, study] seconds or steps; infinity is a miss

    @classmethod
    def of(cls, board: Leaderboard, workload: str, measure: Measure) -> "_Panel":
        target = board.pool.target(workload)
        curves = {
            series: [
                _curve(trial, target, measure)
                for trial in chosen_trials(board, entry.submission, workload, measure)
            ]
            for series, entry in enumerate(board.entries)
        }
        names = [entry.submission for entry in board.entries]
        reached = study_values(board, workload, measure)
        return cls(target, measure, names, curves, reached)

    def body(self, scale: str) -> str:
        """The drawing with linear or logarithmic values."""
        longest = self._longest()
        unit = _Unit.of(self.measure, longest)
        x = Scale(0.0, longest / unit.size, _LEFT, _RIGHT)
        values = _Values.of(self._shown(longest), self.target, is_log=scale == "log")
        bottom = _rows_top() + _ROW * len(self.names)
        bound = values.at(self.target.validation)
        parts = [
            drawing.y_axis(values.y, _LEFT, _RIGHT, 4, named=values.ticks),
            drawing.x_axis(x, _PANEL_TOP, bottom, unit.label),
            *_heading(self.target),
            self._lines(x, values, unit),
            drawing.line(_LEFT, bound, _RIGHT, bound, "target"),
            *(self._row(series, x, unit) for series in range(len(self.names))),
        ]
        return "".join(parts)

    def _longest(self) -> float:
        """Until where curves are shown."""
        ends = [
            float(of.x[-1]) for runs in self.curves.values() for of in runs if len(of.x)
        ]
        end = max(ends, default=0.0)
        reached = self.reached[np.isfinite(self.reached)]
        if len(reached):
            slowest = float(reached.max())
            end = max(min(end, _SHOWN_TIME * slowest), slowest)
        return end or 1.0

    def _shown(self, end: float) -> np.ndarray:
        """All finite values that lie on the shown part of the axis, and the target's."""
        shown = [of.values[of.x <= end] for runs in self.curves.values() for of in runs]
        values = np.concatenate([*shown, [self.target.validation]])
        finite: np.ndarray = values[np.isfinite(values)]
        return finite

    def _lines(self, x: Scale, values: "_Values", unit: _Unit) -> str:
        """Nested in an element of its own that cuts off what is out of range."""
        width, height = x.end - x.start, _PANEL_BOTTOM - _PANEL_TOP
        inner_x = Scale(x.low, x.high, 0.0, width)
        inner_y = Scale(values.y.low, values.y.high, height, 0.0)
        groups = []
        for series in sorted(self.curves, reverse=True):
            paths = []
            for curve in self.curves[series]:
                corners = drawing.curve_path(
                    curve.x / unit.size, values.shown(curve.values), inner_x, inner_y
                )
                if corners:
                    paths.append(
                        drawing.path(corners, series, "curve", label=curve.label)
                    )
            if paths:
                groups.append(drawing.group(series, paths))
        name = f"validation {self.target.metric}"
        drawn = plot(
            Axis(inner_x, unit.label),
            Axis(inner_y, name, is_log=values.is_log),
            groups,
        )
        return (
            f'<svg x="{drawing.place(_LEFT)}" y="{drawing.place(_PANEL_TOP)}" '
            f'width="{drawing.place(width)}" height="{drawing.place(height)}">{drawn}</svg>'
        )

    def _row(self, series: int, x: Scale, unit: _Unit) -> str:
        """A dot for each study that reached the target; how many did not."""
        y = _rows_top() + (series + 0.5) * _ROW
        parts = [
            drawing.line(x.start, y, x.end, y, "row"),
            drawing.text(
                x.start - 7, y + 4, str(series + 1), anchor="end", kind="tick"
            ),
        ]
        values = self.reached[series].tolist()
        found = sorted(value for value in values if math.isfinite(value))
        places = [x.at(value / unit.size) for value in found]
        if len(places) > 1:
            first, last = drawing.place(places[0]), drawing.place(places[-1])
            corners = f"M{first} {drawing.place(y)}H{last}"
            parts.append(drawing.path(corners, series, "spread"))
        for value, at in zip(found, places, strict=True):
            words = (
                duration(value) if self.measure == "seconds" else f"{value:,.0f} steps"
            )
            tip = f"{self.names[series]}\ntarget reached after {words}"
            parts.append(drawing.dot(at, y, series, tip))
        missed = len(values) - len(found)
        if missed:
            words = f"{missed}/{len(values)} {TIMES}"
            parts.append(drawing.text(x.end + 5, y + 4, words, kind="tick"))
        return drawing.group(series, parts)


def _curve(trial: Trial, target: Target, measure: Measure) -> _Curve:
    label = f"study {trial.id.study}, trial {trial.id.trial}"
    if not trial.num_evaluations:
        return _Curve(label, np.empty(0), np.empty(0))
    values = trial.metric(f"validation/{target.metric}")
    return _Curve(label, trial.columns[_COLUMNS[measure]], values)


@dataclass(frozen=True)
class _Values:
    """The vertical axis."""

    y: Scale  # of the values, or of their decimal logarithms
    is_log: bool
    ticks: Sequence[Tick] = ()

    @classmethod
    def of(cls, values: np.ndarray, target: Target, *, is_log: bool) -> "_Values":
        """Fits values; linear where no logarithm of the target exists."""
        if is_log and target.validation > 0:
            return cls._logarithmic(values[values > 0])
        low, high = range_near(values, target)
        return cls(Scale(low, high, _PANEL_BOTTOM, _PANEL_TOP), False)

    @classmethod
    def _logarithmic(cls, values: np.ndarray) -> "_Values":
        low, high = math.log10(values.min()), math.log10(values.max())
        space = 0.06 * (high - low) or 0.02
        y = Scale(low - space, high + space, _PANEL_BOTTOM, _PANEL_TOP)
        return cls(y, True, drawing.exponent_ticks(y.low, y.high, 5))

    def at(self, value: float) -> float:
        """The place of a value."""
        return self.y.at(math.log10(value) if self.is_log else value)

    def shown(self, values: np.ndarray) -> np.ndarray:
        """[evaluation] what is drawn of values; NaN where there is no logarithm."""
        if not self.is_log:
            return values
        is_shown = np.isfinite(values) & (values > 0)
        logarithms: np.ndarray = np.log10(np.where(is_shown, values, np.nan))
        return logarithms


def range_near(values: np.ndarray, target: Target) -> tuple[float, float]:
    """A range around the target: early or diverging values would flatten the rest."""
    distance = float(np.median(np.abs(values - target.validation)))
    reach = _SHOWN_DISTANCE * distance or 0.05 * abs(target.validation) or 1.0
    low = max(float(values.min()), target.validation - reach)
    high = min(float(values.max()), target.validation + reach)
    space = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - space, high + space


def _heading(target: Target) -> list[str]:
    """What the curves are, and what the dashed line is."""
    bound = f"validation target {target.validation:.5g}, {target.better} is better"
    return [
        drawing.text(_EDGE, 12, f"validation {target.metric}", kind="name"),
        drawing.line(_EDGE, 24, _EDGE + 22, 24, "target"),
        drawing.text(_EDGE + 28, 28, bound, kind="target"),
    ]


def _description(board: Leaderboard, workload: str) -> str:
    target = board.pool.target(workload)
    times = study_values(board, workload, "seconds")
    reached = [
        f"{entry.submission} in {int(np.isfinite(row).sum())} of {len(row)} studies"
        for entry, row in zip(board.entries, times, strict=True)
    ]
    return (
        f"Above, validation {target.metric} over submission time, one curve for "
        f"each study's chosen trial, with the validation target {target.validation:.5g} "
        f"({target.better} is better). Below, the times to the "
        f"{board.pool.ruleset.scored_split} target of the studies, a row "
        f"for each submission: {'; '.join(reached)}."
    )
