"""Pieces of SVG: scales, axes, marks and thinned curves.

Colours are classes (`c0` to `c7`) that `palette.py` defines for light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

NUM_COLOURS = 8
_EXPONENTS = (
    -300.0,
    300.0,
)  # beyond them lie numbers that floats hold badly or not at all
_DASHES = ("", "7 4", "2 3", "9 3 2 3")


Tick = tuple[float, str]  # a number on an axis, and what is written there


@dataclass(frozen=True)
class Scale:
    """Maps numbers from `low` to `high` to places from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The place of a number."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self, wanted: int) -> list[float]:
        """Round numbers along the scale."""
        return ticks(self.low, self.high, wanted)


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


def log_ticks(low: float, high: float, wanted: int = 6) -> list[Tick]:
    """Round numbers between two positive ones, for an axis of decimal logarithms."""
    return exponent_ticks(math.log10(low), math.log10(high), wanted)


def exponent_ticks(low: float, high: float, wanted: int = 6) -> list[Tick]:
    """Round numbers between 10 to the power of `low` and of `high`, as `log_ticks`."""
    low, high = max(low, _EXPONENTS[0]), min(high, _EXPONENTS[1])
    powers = range(math.floor(low), math.ceil(high) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [math.log10(f) + power for power in powers for f in factors]
        found = [place for place in found if low - 1e-9 <= place <= high + 1e-9]
        if len(found) <= wanted:
            break
    found = found[:: max(1, len(found) // max(1, wanted))]
    values = [10.0**place for place in found]
    if len(found) < 2:  # a short axis: numbers that are round in another way
        values = [value for value in ticks(10.0**low, 10.0**high, wanted) if value > 0]
    texts = numbers([float(f"{value:.9g}") for value in values])
    return [(math.log10(v), text) for v, text in zip(values, texts, strict=True)]


def place(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def short(value: float, digits: int = 4) -> str:
    """A number on an axis."""
    if value == 0:
        return "0"
    if 10_000 <= abs(value) < 1e9 and (digits == 4 or value == round(value)):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def numbers(values: Sequence[float]) -> list[str]:
    """Numbers on one axis, with as many digits as tell them apart."""
    for digits in range(4, 16):
        texts = [short(value, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def colour(series: int) -> str:
    """The class of a submission's colour."""
    return f"c{series % NUM_COLOURS}"


def dash(series: int, *, always: bool) -> str:
    """An attribute that tells curves apart beyond their colours.

    With `always` neighbours differ, for those who do not see the colours; else only
    submissions that share a colour.
    """
    turn = series // NUM_COLOURS
    pattern = _DASHES[(turn + series if always else turn) % len(_DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line of a class."""
    return (
        f'<line class="{kind}" x1="{place(x1)}" y1="{place(y1)}" x2="{place(x2)}" '
        f'y2="{place(y2)}"/>'
    )


def text(
    x: float, y: float, words: str, *, anchor: str = "start", kind: str = ""
) -> str:
    """Words at a place; anything may stand in them."""
    named = f' class="{kind}"' if kind else ""
    return (
        f'<text x="{place(x)}" y="{place(y)}" text-anchor="{anchor}"{named}>'
        f"{escape(words)}</text>"
    )


def path(
    corners: str, series: int, kind: str, *, dashed: bool = False, label: str = ""
) -> str:
    """A curve of a submission; `dashed`: as `dash` always does; `label`: what it is."""
    pattern = dash(series, always=dashed)
    named = f' data-l="{escape(label)}"' if label else ""
    return f'<path class="{kind} {colour(series)}" d="{corners}"{pattern}{named}/>'


def dot(x: float, y: float, series: int, tip: str, kind: str = "dot") -> str:
    """A point that tells something: its title is shown on hover."""
    return (
        f'<g class="tip"><title>{escape(tip)}</title>'
        f'<circle class="hit" cx="{place(x)}" cy="{place(y)}" r="8"/>'
        f'<circle class="{kind} {colour(series)}" cx="{place(x)}" cy="{place(y)}" '
        'r="3.2"/></g>'
    )


def band(edge: Sequence[tuple[float, float]], series: int) -> str:
    """The area within an edge."""
    points = " ".join(f"{place(x)},{place(y)}" for x, y in edge)
    return f'<polygon class="band {colour(series)}" points="{points}"/>'


def corners(places: Sequence[tuple[float, float]], *, is_step: bool) -> str:
    """A path through places; a step goes across before it goes up."""
    (x, y), *rest = places
    separator = ("H", "V") if is_step else ("L", " ")
    parts = [f"{separator[0]}{place(a)}{separator[1]}{place(b)}" for a, b in rest]
    return f"M{place(x)} {place(y)}{''.join(parts)}"


def group(series: int, parts: Sequence[str]) -> str:
    """What belongs to one submission; the page hides and shows it as a whole."""
    return f'<g data-s="{series}">{"".join(parts)}</g>'


def x_axis(
    scale: Scale,
    top: float,
    bottom: float,
    label: str,
    wanted: int = 5,
    named: Sequence[Tick] = (),
) -> str:
    """Vertical grid lines, numbers under them and the axis' name.

    named: the grid lines with their words, instead of about `wanted` round numbers.
    """
    parts = []
    for value, words in named or _numbered(scale, wanted):
        x = scale.at(value)
        parts.append(line(x, top, x, bottom, "grid"))
        parts.append(text(x, bottom + 15, words, anchor="middle", kind="tick"))
    middle = (scale.start + scale.end) / 2
    parts.append(line(scale.start, bottom, scale.end, bottom, "axis"))
    parts.append(text(middle, bottom + 31, label, anchor="middle", kind="name"))
    return "".join(parts)


def y_axis(
    scale: Scale, left: float, right: float, wanted: int = 5, named: Sequence[Tick] = ()
) -> str:
    """Horizontal grid lines and numbers, or what is named, beside them."""
    parts = []
    for value, words in named or _numbered(scale, wanted):
        y = scale.at(value)
        parts.append(line(left, y, right, y, "grid"))
        parts.append(text(left - 6, y + 4, words, anchor="end", kind="tick"))
    return "".join(parts)


def rows(scale: Scale, left: float, right: float, names: Sequence[str]) -> str:
    """Horizontal lines at 0, -1, -2 and so on, each with its name above it."""
    parts = []
    for row, name in enumerate(names):
        y = scale.at(-row)
        parts.append(line(left, y, right, y, "grid"))
        parts.append(text(left, y - 5, name, kind="tick"))
    return "".join(parts)


def _numbered(scale: Scale, wanted: int) -> list[Tick]:
    values = scale.ticks(wanted)
    return list(zip(values, numbers(values), strict=True))


def step_path(xs: Sequence[float], ys: Sequence[float], x: Scale, y: Scale) -> str:
    """A step function that starts at the bottom of `y`."""
    commands = [f"M{place(x.at(xs[0]))} {place(y.at(y.low))}"]
    for a, b in zip(xs, ys, strict=True):
        commands.append(f"H{place(x.at(a))}V{place(y.at(b))}")
    return "".join(commands)


def curve_path(
    xs: np.ndarray, ys: np.ndarray, x: Scale, y: Scale, num_bins: int = 40
) -> str:
    """A line through [point] values, thinned; values that are not finite interrupt it."""
    finite = np.isfinite(ys)
    edges = np.flatnonzero(np.diff(finite.astype(int))) + 1
    commands: list[str] = []
    for part in np.split(np.arange(len(ys)), edges):
        if not len(part) or not finite[part[0]]:
            continue
        bins = max(2, math.ceil(num_bins * len(part) / len(ys)))
        kept = part[thinned(xs[part], ys[part], bins)]
        points = [
            f"{place(x.at(a))} {place(y.at(b))}"
            for a, b in zip(xs[kept].tolist(), ys[kept].tolist(), strict=True)
        ]
        # A lone point is drawn by its round ends.
        commands.append("M" + "L".join(points) + ("h0" if len(points) == 1 else ""))
    return "".join(commands)


def thinned(xs: np.ndarray, ys: np.ndarray, num_bins: int) -> np.ndarray:
    """Indices of points that look like all of them.

    Kept are both ends and, in each of `num_bins` equal spans of `xs` (ascending), the
    lowest and the highest point.
    """
    count = len(xs)
    if count <= 2 * num_bins + 2:
        return np.arange(count)
    span = float(xs[-1] - xs[0]) or 1.0
    bins = np.minimum(((xs - xs[0]) / span * num_bins).astype(int), num_bins - 1)
    order = np.lexsort([ys, bins])
    last = np.flatnonzero(np.diff(bins[order], append=num_bins))
    first = np.concatenate([[0], last[:-1] + 1])
    return np.unique(np.concatenate([[0, count - 1], order[first], order[last]]))
