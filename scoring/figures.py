"""Charts as values: curves with axes, to stand in a report or as an SVG file of their own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

from . import drawing
from .drawing import Scale, Tick
from .palette import DRAWINGS, series, themes

WIDTH, HEIGHT = 440, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 22, 46
_ROW_LEFT = 16  # where rows have their names above them
_TITLE, _LEGEND_ROW = 30, 18
_ROW = 24  # the least height of a row with a name


@dataclass(frozen=True)
class Chart:
    """A drawing with its text alternative; `body` is SVG without the outer element."""

    title: str
    description: str
    width: int
    height: int
    body: str
    subtitle: str = ""
    # Bodies by the options of the switches that show them, such as "steps log".
    views: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Switch:
    """A choice between views: what it is about, and its options as (key, words)."""

    label: str
    options: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Axis:
    """What a reader of a curve is told about one of its points."""

    scale: Scale
    label: str
    is_log: bool = False  # the scale is of decimal logarithms


def plot(x: Axis, y: Axis, groups: Sequence[str]) -> str:
    """Curves whose points a page can turn back into numbers."""
    facts = "".join(
        f' data-{name}="{s.low!r} {s.high!r} {s.start:g} {s.end:g}'
        f'{" log" if axis.is_log else ""}" data-{name}-label="{escape(axis.label)}"'
        for name, axis in (("x", x), ("y", y))
        for s in (axis.scale,)
    )
    return f'<g class="plot"{facts}>{"".join(groups)}</g>'


@dataclass(frozen=True)
class Charts:
    """Drawings side by side that share one legend."""

    charts: Sequence[Chart]
    legend: Sequence[str]  # names of the series in the order of their colours
    is_wide: bool = False  # two beside each other instead of as many as fit
    is_dashed: bool = False  # whether the series differ in their dashes too
    note: str = ""
    switches: Sequence[Switch] = field(default=())
    fold: str = ""  # folded up under these words where the format can do that


@dataclass(frozen=True)
class Curve:
    """Points of one curve; `step`: the value holds until the next point."""

    series: int  # its colour, and its place in the legend
    x: Sequence[float]
    y: Sequence[float]
    kind: Literal["step", "line", "points"] = "step"
    tips: Sequence[str] = ()  # of `points`: what each one says
    low: Sequence[float] | None = None  # a band around the curve
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Mark:
    """A dashed line across the chart, at an `x` or a `y`."""

    axis: Literal["x", "y"]
    at: float
    label: str = ""


@dataclass(frozen=True)
class Figure:
    """What a chart shows; ranges that are None fit the finite points.

    Axes have round numbers unless ticks are given. With `row_names` the chart has a row for
    each name, at y = 0, -1, -2 and so on from the top, and grows with their number.
    """

    title: str
    description: str  # the text alternative: what one would see
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    marks: Sequence[Mark] = field(default=())
    x_ticks: Sequence[Tick] = ()
    y_ticks: Sequence[Tick] = ()
    row_names: Sequence[str] = ()
    is_x_log: bool = False  # x holds decimal logarithms
    subtitle: str = ""  # beside the title

    def chart(self) -> Chart:
        """The drawing."""
        x_range, y_range = self._ranges()
        height = max(HEIGHT, _TOP + _BOTTOM + _ROW * len(self.row_names))
        left = _ROW_LEFT if self.row_names else _LEFT
        x = Scale(*x_range, left, WIDTH - _RIGHT)
        y = Scale(*y_range, height - _BOTTOM, _TOP)
        parts = [
            drawing.rows(y, x.start, x.end, self.row_names)
            if self.row_names
            else drawing.y_axis(y, x.start, x.end, named=self.y_ticks),
            drawing.x_axis(x, y.end, y.start, self.x_label, named=self.x_ticks),
            drawing.text(4, 12, self.y_label, kind="name"),
            *(_mark(mark, x, y) for mark in self.marks),
            # The first curves are drawn last, so that they lie on top.
            plot(
                Axis(x, self.x_label, self.is_x_log),
                Axis(y, self.y_label),
                [_curve(curve, x, y) for curve in reversed(self.curves)],
            ),
        ]
        body = "".join(parts)
        return Chart(self.title, self.description, WIDTH, height, body, self.subtitle)

    def _ranges(self) -> tuple[tuple[float, float], tuple[float, float]]:
        x_marks = [mark.at for mark in self.marks if mark.axis == "x"]
        y_marks = [mark.at for mark in self.marks if mark.axis == "y"]
        bands = [b for c in self.curves for b in (c.low, c.high) if b is not None]
        x_groups = [*(c.x for c in self.curves), x_marks]
        y_groups = [*(c.y for c in self.curves), *bands, y_marks]
        y_range = self.y_range or _fitted(y_groups, margin=0.05)
        if self.row_names:
            y_range = (0.5 - len(self.row_names), 0.8)
        return self.x_range or _fitted(x_groups, margin=0.0), y_range


def _fitted(groups: Sequence[Sequence[float]], margin: float) -> tuple[float, float]:
    values = [float(v) for group in groups for v in group if math.isfinite(v)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    space = margin * (high - low) or (0.0 if high > low else abs(high) * 0.1 or 1.0)
    return low - space, high + space


def _mark(mark: Mark, x: Scale, y: Scale) -> str:
    if mark.axis == "x":
        at = x.at(mark.at)
        line = drawing.line(at, y.end, at, y.start, "target")
        is_right = at > (x.start + x.end) / 2
        place, anchor = (at - 4, "end") if is_right else (at + 4, "start")
        return line + drawing.text(
            place, y.end + 10, mark.label, anchor=anchor, kind="target"
        )
    at = y.at(mark.at)
    line = drawing.line(x.start, at, x.end, at, "target")
    return line + drawing.text(x.start + 6, at - 5, mark.label, kind="target")


def _curve(curve: Curve, x: Scale, y: Scale) -> str:
    parts = []
    if curve.low is not None and curve.high is not None:
        edge = _places(curve.x, curve.high, x, y)
        edge += reversed(_places(curve.x, curve.low, x, y))
        parts.append(drawing.band(edge, curve.series))
    places = _places(curve.x, curve.y, x, y)
    if curve.kind == "points":
        tips = curve.tips or [""] * len(places)
        parts += [
            drawing.dot(a, b, curve.series, tip)
            for (a, b), tip in zip(places, tips, strict=False)
        ]
    elif places:
        corners = drawing.corners(places, is_step=curve.kind == "step")
        parts.append(drawing.path(corners, curve.series, "profile", dashed=True))
    return drawing.group(curve.series, parts)


def _places(
    xs: Sequence[float], ys: Sequence[float], x: Scale, y: Scale
) -> list[tuple[float, float]]:
    """Of the points that are finite and not far outside of the chart."""
    low, high = sorted((y.start, y.end))
    return [
        (x.at(a), min(max(y.at(b), low - 4), high + 4))
        for a, b in zip(xs, ys, strict=True)
        if math.isfinite(a) and math.isfinite(b)
    ]


def standalone(chart: Chart, legend: Sequence[str]) -> str:
    """The chart as a file: with title, legend and style, light or dark as its viewer."""
    height = _TITLE + chart.height + _LEGEND_ROW * len(legend) + 8
    top = _TITLE + chart.height
    rows = []
    for number, name in enumerate(legend):
        y = top + _LEGEND_ROW * (number + 0.5)
        rows.append(drawing.path(f"M14 {y:g}H40", number, "profile", dashed=True))
        rows.append(drawing.text(48, y + 4, name))
    style = (
        f"{themes()}{DRAWINGS}{series()}"
        ":root{background:var(--page);font-family:system-ui,sans-serif}"
        "svg .heading{fill:var(--ink);font-size:14px;font-weight:600}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{1.5 * chart.width:g}" '
        f'viewBox="0 0 {chart.width} {height}" role="img" '
        'aria-labelledby="title description">\n'
        f'<title id="title">{escape(chart.title)}</title>'
        f'<desc id="description">{escape(chart.description)}</desc>'
        f"<style>{style}</style>\n"
        f"{drawing.text(14, 19, _heading(chart), kind='heading')}"
        f'<svg y="{_TITLE}" width="{chart.width}" height="{chart.height}">'
        f"{chart.body}</svg>\n{''.join(rows)}</svg>\n"
    )


def _heading(chart: Chart) -> str:
    return f"{chart.title}, {chart.subtitle}" if chart.subtitle else chart.title
