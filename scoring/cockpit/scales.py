"""Logarithmic scales, and the parts of charts that have two vertical axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import drawing
from ..drawing import Scale
from ..figures import Chart
from .record import Series

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 22, 44
_MOST_DOTS = 400
_EMPTY_TEXT = "not measured yet"


@dataclass(frozen=True)
class LogScale(Scale):
    """A logarithmic scale with ticks at powers of ten. Values must be positive."""

    def at(self, value: float) -> float:
        """The position of a value."""
        low, high = math.log10(self.low), math.log10(self.high)
        share = (math.log10(max(value, self.low * 1e-3)) - low) / ((high - low) or 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self, wanted: int) -> list[float]:
        """Powers of ten, or round numbers where the range spans less than one decade."""
        first = math.ceil(math.log10(self.low) - 1e-9)
        last = math.floor(math.log10(self.high) + 1e-9)
        stride = max(1, -(-(last - first + 1) // wanted))
        powers = [10.0**e for e in range(first, last + 1, stride)]
        if len(powers) >= 2:
            return powers
        return [t for t in drawing.ticks(self.low, self.high, wanted) if t > 0]


def fitted(values: Sequence[np.ndarray], start: float, end: float) -> Scale:
    """A linear scale with a small margin around all finite values."""
    found = _finite(values)
    if not len(found):
        return Scale(0.0, 1.0, start, end)
    low, high = float(found.min()), float(found.max())
    space = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low - space, high + space, start, end)


def log_fitted(values: Sequence[np.ndarray], start: float, end: float) -> Scale:
    """A logarithmic scale around all values above 0; a linear one where there are none."""
    found = _finite(values)
    found = found[found > 0]
    if not len(found):
        return Scale(0.0, 1.0, start, end)
    low, high = float(found.min()), float(found.max())
    if high < 1.3 * low:
        low, high = low / 1.5, high * 1.5
    return LogScale(low / 1.1, high * 1.1, start, end)


def _finite(values: Sequence[np.ndarray]) -> np.ndarray:
    joined = np.concatenate(
        [np.asarray(v, np.float64) for v in values] or [np.zeros(0)]
    )
    kept: np.ndarray = joined[np.isfinite(joined)]
    return kept


def step_scale(series: Sequence[Series]) -> Scale:
    """The horizontal axis of steps that several series share."""
    steps = [s.steps for s in series if len(s.steps)]
    high = max((float(s.max()) for s in steps), default=1.0)
    return Scale(0.0, max(high, 1.0), LEFT, WIDTH - RIGHT)


def compact(value: float) -> str:
    """A short label for a number of any size."""
    if abs(value) < 100_000:
        return drawing.short(value)
    return f"{value:.3g}".replace("e+0", "e").replace("e+", "e")


def axes(x: Scale, y: Scale, label: str, *, x_label: str = "step") -> list[str]:
    """Both axes and their grid, with the name of the vertical axis above it."""
    return [
        drawing.y_axis(y, x.start, x.end, named=[(t, compact(t)) for t in y.ticks(4)]),
        drawing.x_axis(x, y.end, y.start, x_label),
        drawing.text(LEFT, 12, label, kind="name"),
    ]


def right_axis(y: Scale, left: float, label: str, colour: int) -> list[str]:
    """The second vertical axis on the right, with its name and colour."""
    ticks = [
        drawing.text(left + 6, y.at(t) + 4, compact(t), kind="tick") for t in y.ticks(4)
    ]
    mark = f"M{WIDTH - 24 - 6.2 * len(label):.0f} 8h12"
    name = drawing.text(WIDTH - 6, 12, label, anchor="end", kind="name")
    return [*ticks, drawing.path(mark, colour, "profile"), name]


def empty(title: str, why: str = _EMPTY_TEXT) -> Chart:
    """A chart that says why an instrument has no data."""
    body = drawing.text(WIDTH / 2, HEIGHT / 2, why, anchor="middle")
    return Chart(title, why, WIDTH, HEIGHT, body)


def dots(series: Series, x: Scale, y: Scale, colour: int, name: str) -> str:
    """The values as dots, thinned out; hovering shows the number."""
    kept = drawing.thinned(series.steps, series.values, _MOST_DOTS // 2)
    parts = []
    for index in kept.tolist():
        value = float(series.values[index])
        if not math.isfinite(value) or (isinstance(y, LogScale) and value <= 0):
            continue
        step = int(series.steps[index])
        tip = f"{name} {drawing.short(value)} at step {step}"
        parts.append(drawing.dot(x.at(step), y.at(value), colour, tip, "dot mild"))
    return "".join(parts)


def line(
    steps: np.ndarray,
    values: np.ndarray,
    x: Scale,
    y: Scale,
    colour: int,
    *,
    dashed: bool = False,
) -> str:
    """The values as a line; dashed: as `drawing.dash` always does."""
    if isinstance(y, LogScale):
        values = np.where(values > 0, values, np.nan)
    if not np.isfinite(values).any():
        return ""
    path = drawing.curve_path(np.asarray(steps, np.float64), values, x, y, 100)
    return drawing.path(path, colour, "profile", dashed=dashed)
