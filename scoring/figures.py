"""Small figures as inline SVG: steps and lines, axes, labels at the curves' ends.

Ink is `currentColor` and the curves' colours have contrast on white and on black, so
that a figure takes on the light or dark theme of the page it stands in. Every curve has
a <title>, shown on hover and read aloud.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

WIDTH, HEIGHT = 760, 420
_LEFT, _TOP, _BOTTOM = 64, 56, 52
_LABEL_GAP, _CHARACTER = 17.0, 6.6  # distance of labels; width of a character at 12 px
# At least 3:1 against white and against #15171a.
_COLOURS = (
    "#3a7fd0",
    "#d9702b",
    "#2a9a76",
    "#c24f9a",
    "#8a6fd6",
    "#9a8418",
    "#d4505c",
    "#6b8494",
)
_DASHES = ("", "7 4", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Curve:
    """Points of one curve; `step`: the value holds until the next point."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    kind: Literal["step", "line", "points"] = "step"
    hover: str = ""  # what the tooltip says; the label if empty
    low: Sequence[float] | None = None  # a band around the curve
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class Mark:
    """A thin dashed line across the figure, at an `x` or a `y`."""

    axis: Literal["x", "y"]
    at: float
    label: str = ""


@dataclass(frozen=True)
class Figure:
    """What is drawn; ranges that are None fit the finite points."""

    title: str
    description: str  # the text alternative: what one would see
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    marks: Sequence[Mark] = field(default=())

    def svg(self, identifier: str = "figure") -> str:
        """One <svg> element; `identifier` must be unique within a page."""
        return _Drawing(self, identifier).svg()


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers between `low` and `high`, about `wanted` of them."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / max(1, wanted - 1)
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = min((m * magnitude for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class _Drawing:
    def __init__(self, figure: Figure, identifier: str) -> None:
        self.figure = figure
        self.identifier = identifier
        longest = max((len(curve.label) for curve in figure.curves), default=0)
        self.right = WIDTH - 28 - min(230.0, longest * _CHARACTER + 18)
        self.bottom = HEIGHT - _BOTTOM
        x_marks = [mark.at for mark in figure.marks if mark.axis == "x"]
        y_marks = [mark.at for mark in figure.marks if mark.axis == "y"]
        bands = [b for c in figure.curves for b in (c.low, c.high) if b is not None]
        self.x_range = figure.x_range or _fitted(
            [*(c.x for c in figure.curves), x_marks], margin=0.0
        )
        self.y_range = figure.y_range or _fitted(
            [*(c.y for c in figure.curves), *bands, y_marks], margin=0.05
        )

    def svg(self) -> str:
        name, figure = self.identifier, self.figure
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'role="img" aria-labelledby="{name}-title {name}-desc" '
            'font-family="system-ui, sans-serif" font-size="12" fill="currentColor" '
            f'style="max-width:{WIDTH}px;width:100%;height:auto">',
            f'<title id="{name}-title">{escape(figure.title)}</title>',
            f'<desc id="{name}-desc">{escape(figure.description)}</desc>',
            f'<text x="{_LEFT}" y="24" font-size="15" font-weight="600">'
            f"{escape(figure.title)}</text>",
            f'<clipPath id="{name}-clip"><rect x="{_LEFT - 2}" y="{_TOP - 3}" '
            f'width="{self.right - _LEFT + 4:.1f}" height="{self.bottom - _TOP + 6}"/>'
            "</clipPath>",
            *self._axes(),
            *self._marks(),
            f'<g clip-path="url(#{name}-clip)">',
            *(self._curve(i, curve) for i, curve in enumerate(figure.curves)),
            "</g>",
            *self._labels(),
            "</svg>",
        ]
        return "\n".join(parts)

    def _x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (self.right - _LEFT)

    def _y(self, value: float) -> float:
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - _TOP)

    def _axes(self) -> list[str]:
        parts = []
        y_ticks, x_ticks = ticks(*self.y_range), ticks(*self.x_range, wanted=7)
        for value in y_ticks:
            y = self._y(value)
            parts.append(
                f'<line x1="{_LEFT}" x2="{self.right:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
                'stroke="currentColor" stroke-opacity="0.14"/>'
                f'<text x="{_LEFT - 9}" y="{y + 4:.1f}" text-anchor="end" '
                f'fill-opacity="0.75">{_short(value)}</text>'
            )
        for value in x_ticks:
            x = self._x(value)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.bottom}" '
                f'y2="{self.bottom + 5}" stroke="currentColor" stroke-opacity="0.6"/>'
                f'<text x="{x:.1f}" y="{self.bottom + 20}" text-anchor="middle" '
                f'fill-opacity="0.75">{_short(value)}</text>'
            )
        middle = (_LEFT + self.right) / 2
        parts.append(
            f'<line x1="{_LEFT}" x2="{self.right:.1f}" y1="{self.bottom}" '
            f'y2="{self.bottom}" stroke="currentColor" stroke-opacity="0.6"/>'
            f'<text x="{middle:.1f}" y="{HEIGHT - 10}" text-anchor="middle">'
            f"{escape(self.figure.x_label)}</text>"
            f'<text x="{_LEFT}" y="44" fill-opacity="0.75">'
            f"{escape(self.figure.y_label)}</text>"
        )
        return parts

    def _marks(self) -> list[str]:
        parts = []
        for mark in self.figure.marks:
            if mark.axis == "x":
                x = self._x(mark.at)
                ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{self.bottom}"'
                place = f'x="{x + 4:.1f}" y="{_TOP + 10}"'
            else:
                y = self._y(mark.at)
                ends = f'x1="{_LEFT}" x2="{self.right:.1f}" y1="{y:.1f}" y2="{y:.1f}"'
                place = f'x="{_LEFT + 6}" y="{y - 5:.1f}"'
            parts.append(
                f'<line {ends} stroke="currentColor" stroke-opacity="0.65" '
                f'stroke-dasharray="3 4"/><text {place} font-size="11" '
                f'fill-opacity="0.8">{escape(mark.label)}</text>'
            )
        return parts

    def _curve(self, index: int, curve: Curve) -> str:
        hover = escape(curve.hover or curve.label)
        colour = _COLOURS[index % len(_COLOURS)]
        parts = [f"<g><title>{hover}</title>"]
        if curve.low is not None and curve.high is not None:
            parts.append(self._band(curve, colour))
        if curve.kind == "points":
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}" '
                'fill-opacity="0.85"/>'
                for x, y in self._points(curve.x, curve.y)
            ]
        else:
            path = self._path(curve)
            parts.append(
                f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2.2" '
                f'stroke-linejoin="round"{_dash(index)}/>'
            )
        return "".join([*parts, "</g>"])

    def _path(self, curve: Curve) -> str:
        commands: list[str] = []
        for x, y in self._points(curve.x, curve.y):
            if not commands:
                commands.append(f"M{x:.1f} {y:.1f}")
            elif curve.kind == "step":
                commands.append(f"H{x:.1f}V{y:.1f}")
            else:
                commands.append(f"L{x:.1f} {y:.1f}")
        return "".join(commands)

    def _band(self, curve: Curve, colour: str) -> str:
        upper = self._points(curve.x, curve.high or ())
        lower = self._points(curve.x, curve.low or ())
        corners = [f"{x:.1f},{y:.1f}" for x, y in upper + lower[::-1]]
        points = " ".join(corners)
        return f'<polygon points="{points}" fill="{colour}" fill-opacity="0.15"/>'

    def _points(
        self, xs: Sequence[float], ys: Sequence[float]
    ) -> list[tuple[float, float]]:
        return [
            (self._x(x), self._y(y))
            for x, y in zip(xs, ys, strict=True)
            if math.isfinite(x) and math.isfinite(y)
        ]

    def _labels(self) -> list[str]:
        """Labels beside the curves' ends, pushed apart where they would overlap."""
        ends = []
        for index, curve in enumerate(self.figure.curves):
            points = self._points(curve.x, curve.y)
            y = points[-1][1] if points else self.bottom
            ends.append((min(max(y, _TOP), self.bottom), index))
        ends.sort()
        places = _spread([y for y, _ in ends], _LABEL_GAP, _TOP, self.bottom + 8)
        parts = []
        x = self.right + 8
        for (end, index), y in zip(ends, places, strict=True):
            colour = _COLOURS[index % len(_COLOURS)]
            parts.append(
                f'<path d="M{self.right + 1:.1f} {end:.1f}L{x + 8:.1f} {y:.1f}" '
                f'stroke="{colour}" stroke-width="2.2" fill="none"/>'
                f'<text x="{x + 13:.1f}" y="{y + 4:.1f}">'
                f"{escape(self.figure.curves[index].label)}</text>"
            )
        return parts


def _dash(index: int) -> str:
    """Beyond eight curves, and for those who see no colours: a pattern as well."""
    pattern = _DASHES[index % len(_DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def _fitted(groups: Sequence[Sequence[float]], margin: float) -> tuple[float, float]:
    values = [value for group in groups for value in group if math.isfinite(value)]
    if not values:
        return 0.0, 1.0
    low, high = float(min(values)), float(max(values))
    space = margin * (high - low) or (0.0 if high > low else abs(high) * 0.1 or 1.0)
    return low - space, high + space


def _spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Ascending places at least `gap` apart, close to the `wanted` ones."""
    if len(wanted) > 1:
        gap = min(gap, (high - low) / (len(wanted) - 1))
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap) if places else max(place, low))
    limit = high
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return places


def _short(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.6g}"
