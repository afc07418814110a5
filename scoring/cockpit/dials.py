"""Draws each instrument as a chart from a trial's record, or states that there is no data."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from algoperf.histograms import Bins

from .. import drawing
from ..drawing import Scale
from ..figures import Chart
from . import scales
from .record import Record, Series
from .scales import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH

_GREY, _BLUE = 7, 0


def time_series(
    record: Record, name: str, title: str, *, log: bool = False, colour: int = 0
) -> Chart:
    """Dots and a moving average over the steps."""
    series = record.series(name)
    if not series:
        return scales.empty(title, _why_empty(record, name))
    shown = series
    if log:
        shown = Series(series.steps, np.abs(series.values))
    x = scales.step_scale([series])
    fit = scales.log_fitted if log else scales.fitted
    y = fit([shown.values], HEIGHT - BOTTOM, TOP)
    label = f"|{name}|, logarithmic" if log else name
    body = [
        *scales.axes(x, y, label),
        scales.dots(shown, x, y, colour, name),
        scales.line(series.steps, shown.average(), x, y, (colour + 1) % 8),
    ]
    last = float(series.finite()[-1])
    words = f"{name} over {len(series.steps)} steps; last value {scales.compact(last)}."
    return Chart(title, words, WIDTH, HEIGHT, "".join(body), scales.compact(last))


def _why_empty(record: Record, name: str) -> str:
    if name in record.measured.refused:
        return f"refused: {record.measured.refused[name].partition(',')[0]}"
    asked = record.measured.header.get("quantities", [])
    return "no value yet" if name in asked else f"{name} was not requested"


def distances(record: Record) -> Chart:
    """The distance from the start and, on a second axis, the size of each step."""
    title = "Distance and update size"
    moved, steps = record.series("Distance"), record.series("UpdateSize")
    if not moved and not steps:
        return scales.empty(title, _why_empty(record, "Distance"))
    x = scales.step_scale([moved, steps])
    x = Scale(x.low, x.high, LEFT, WIDTH - LEFT)
    left = scales.fitted([moved.values], HEIGHT - BOTTOM, TOP)
    right = scales.fitted([steps.values], HEIGHT - BOTTOM, TOP)
    body = [
        *scales.axes(x, left, "distance from the start"),
        *scales.right_axis(right, x.end, "update size", 1),
        scales.dots(steps, x, right, 1, "update size"),
        scales.line(steps.steps, steps.average(), x, right, 1),
        scales.line(moved.steps, moved.values, x, left, 0),
    ]
    words = "Line: distance from the initial parameters; dots: size of each update."
    return Chart(title, words, WIDTH, HEIGHT, "".join(body))


def alphas(record: Record) -> Chart:
    """The unit parabola with the distribution of all alphas, and of the latest tenth."""
    title = "Alpha: where steps end"
    series = record.series("Alpha")
    if not series:
        return scales.empty(title, _why_empty(record, "Alpha"))
    x = Scale(-1.6, 1.6, LEFT - 30, WIDTH - RIGHT)
    y = Scale(0.0, 2.6, HEIGHT - BOTTOM, TOP)
    every, recent = series.finite(), series.recent()
    curve = np.linspace(-1.6, 1.6, 60)
    body = [
        drawing.x_axis(
            x, TOP, HEIGHT - BOTTOM, "alpha: -1 start, 0 minimum, 1 as high"
        ),
        *(
            drawing.line(x.at(v), TOP, x.at(v), HEIGHT - BOTTOM, "target")
            for v in (-1, 0, 1)
        ),
        scales.line(curve, curve**2, x, y, 6),
        _distribution(every, x, _GREY),
        _distribution(recent, x, _BLUE),
        _outside(every, x),
        drawing.text(
            LEFT - 30,
            12,
            f"all {len(every)}: mean {every.mean():.3g}; latest {len(recent)}: mean "
            f"{recent.mean():.3g}",
            kind="name",
        ),
    ]
    words = (
        f"Mean alpha {every.mean():.3g} over all {len(every)} steps and {recent.mean():.3g} "
        f"over the latest {len(recent)}."
    )
    return Chart(title, words, WIDTH, HEIGHT, "".join(body))


def _distribution(values: np.ndarray, x: Scale, colour: int) -> str:
    """A histogram as bars, and its mean as a thick mark."""
    counts, edges = np.histogram(values, bins=40, range=(x.low, x.high))
    if not counts.sum():
        return ""
    room = (HEIGHT - BOTTOM - TOP) * 0.8
    bars = []
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        if count:
            tall = room * count / counts.max()
            bars.append(
                bar(
                    x.at(low),
                    HEIGHT - BOTTOM - tall,
                    x.at(high) - x.at(low),
                    tall,
                    colour,
                )
            )
    mean = min(max(float(values.mean()), x.low), x.high)
    mark = f"M{x.at(mean):.1f} {HEIGHT - BOTTOM}v-{room:.0f}"
    return "".join(bars) + drawing.path(mark, colour, "profile")


def bar(left: float, top: float, wide: float, tall: float, colour: int) -> str:
    """A rectangle filled with the colour of a series."""
    return (
        f'<rect class="bar {drawing.colour(colour)}" x="{left:.1f}" y="{top:.1f}" '
        f'width="{wide:.1f}" height="{tall:.1f}"/>'
    )


def _outside(values: np.ndarray, x: Scale) -> str:
    """Arrows with the number of values beyond either border."""
    left, right = int((values < x.low).sum()), int((values > x.high).sum())
    parts = []
    if left:
        parts.append(drawing.text(x.start, TOP + 14, f"\u2190 {left} more"))
    if right:
        words = f"{right} more \u2192"
        parts.append(drawing.text(x.end, TOP + 14, words, anchor="end"))
    return "".join(parts)


def gradient_tests(record: Record) -> Chart:
    """All three gradient tests over time, and the latest values as a disc and two bands."""
    title = "Gradient tests"
    names = ("NormTest", "InnerTest", "OrthoTest")
    found = [record.series(name) for name in names]
    if not any(found):
        return scales.empty(title, _why_empty(record, "InnerTest"))
    x = scales.step_scale(found)
    x = Scale(x.low, x.high, LEFT, WIDTH - 150)
    y = scales.log_fitted([s.values for s in found], HEIGHT - BOTTOM, TOP)
    body = [*scales.axes(x, y, "tolerance, logarithmic")]
    for number, series in enumerate(found):
        if series:
            average = series.average()
            body.append(scales.line(series.steps, average, x, y, number, dashed=True))
    latest = [float(s.finite()[-1]) if s else math.nan for s in found]
    body.append(_plane(latest))
    for number, (name, value) in enumerate(zip(names, latest, strict=True)):
        at = HEIGHT - BOTTOM - 4 + 17 * number - 14
        mark = f"M{WIDTH - 138} {at - 4:.0f}h16"
        body.append(drawing.path(mark, number, "profile", dashed=True))
        words = f"{name.removesuffix('Test')} {scales.compact(value)}"
        body.append(drawing.text(WIDTH - 116, at, words))
    told = ", ".join(
        f"{n} {scales.compact(v)}" for n, v in zip(names, latest, strict=True)
    )
    return Chart(title, f"Latest values: {told}.", WIDTH, HEIGHT, "".join(body))


def _plane(latest: Sequence[float]) -> str:
    """A disc of the norm test's radius; bands along and across the gradient."""
    centre_x, centre_y, half = WIDTH - 74, TOP + 66, 62

    def size(value: float) -> float:
        """On a symmetric logarithmic axis, linear up to 0.1, to a limit of 100."""
        if not math.isfinite(value):
            return 0.0
        decades = math.log10(max(value, 0.1)) + 1
        return min(half, half * (0.2 * min(value / 0.1, 1) + 0.8 * decades / 3))

    norm, inner, ortho = map(size, latest)
    left, top = centre_x - half, centre_y - half
    return "".join(
        [
            bar(left, centre_y - inner, 2 * half, 2 * inner, 1),
            bar(centre_x - ortho, top, 2 * ortho, 2 * half, 2),
            f'<circle class="bar c0" cx="{centre_x}" cy="{centre_y}" r="{norm:.1f}"/>',
            drawing.line(left, centre_y, left + 2 * half, centre_y, "axis"),
            drawing.line(centre_x, top, centre_x, top + 2 * half, "axis"),
        ]
    )


def histogram(record: Record) -> Chart:
    """The latest histogram of gradient elements, with logarithmic counts."""
    title = "Gradient elements"
    found = record.measured.last("GradHist1d")
    if found is None:
        return scales.empty(title, _why_empty(record, "GradHist1d"))
    step, value = found
    counts = np.asarray(value["counts"], np.float64)
    bins = Bins.from_json(value["bins"])
    x = Scale(bins.low, bins.high, LEFT, WIDTH - RIGHT)
    y = scales.LogScale(0.5, max(10.0, float(counts.max()) * 1.3), HEIGHT - BOTTOM, TOP)
    edges = np.linspace(bins.low, bins.high, bins.number + 1)
    wide = (x.end - x.start) / bins.number
    bars = [
        bar(x.at(low), y.at(count), wide, HEIGHT - BOTTOM - y.at(count), 0)
        for count, low in zip(counts.tolist(), edges[:-1].tolist(), strict=True)
        if count
    ]
    clipped = (counts[0] + counts[-1]) / counts.sum()
    body = [
        *scales.axes(
            x,
            y,
            f"count, step {step}",
            x_label="element of a single example's gradient",
        ),
        *bars,
    ]
    words = f"At step {step}; {clipped:.2%} of all elements lie in the end bins."
    note = f"{clipped:.2%} in the end bins"
    return Chart(title, words, WIDTH, HEIGHT, "".join(body), note)


def joint_histogram(record: Record) -> Chart:
    """The latest joint histogram of parameter values and gradient elements."""
    title = "Gradient elements by parameter value"
    found = record.measured.last("GradHist2d")
    if found is None:
        return scales.empty(title, _why_empty(record, "GradHist2d"))
    step, value = found
    counts = np.asarray(value["counts"], np.float64)  # [gradient, parameter]
    gradient, parameter = map(Bins.from_json, value["bins"])
    x = Scale(parameter.low, parameter.high, LEFT, WIDTH - 56)
    y = Scale(gradient.low, gradient.high, HEIGHT - BOTTOM, TOP + 24)
    body = [
        *_cells(np.log10(counts + 1), x, y),
        *_marginals(counts, x, y),
        *scales.axes(
            x, y, f"gradient element, step {step}", x_label="value of the parameter"
        ),
    ]
    words = f"At step {step}; darker cells hold more elements, on a logarithmic scale."
    return Chart(title, words, WIDTH, HEIGHT, "".join(body))


def _cells(shades: np.ndarray, x: Scale, y: Scale) -> list[str]:
    """Filled cells; adjacent cells of the same shade in a row become one rectangle."""
    rows, columns = shades.shape
    wide, tall = (x.end - x.start) / columns, (y.start - y.end) / rows
    levels = np.ceil(shades / (shades.max() or 1.0) * 8).astype(int)
    parts = []
    for row in range(rows):
        begin = 0
        for column in range(1, columns + 1):
            level = levels[row, begin]
            if column < columns and levels[row, column] == level:
                continue
            if level:
                top = y.start - (row + 1) * tall
                left = x.start + begin * wide
                parts.append(
                    f'<rect class="cell" fill-opacity="{level / 8:.3g}" x="{left:.1f}" '
                    f'y="{top:.1f}" width="{(column - begin) * wide:.1f}" '
                    f'height="{tall:.2f}"/>'
                )
            begin = column
    return parts


def _marginals(counts: np.ndarray, x: Scale, y: Scale) -> list[str]:
    parts = []
    across, along = np.log10(counts.sum(0) + 1), np.log10(counts.sum(1) + 1)
    wide = (x.end - x.start) / len(across)
    for index, value in enumerate((across / (across.max() or 1.0)).tolist()):
        tall = 20 * value
        parts.append(bar(x.start + index * wide, y.end - 2 - tall, wide, tall, _GREY))
    tall = (y.start - y.end) / len(along)
    for index, value in enumerate((along / (along.max() or 1.0)).tolist()):
        top = y.start - (index + 1) * tall
        parts.append(bar(x.end + 3, top, 34 * value, tall, _GREY))
    return parts


def learning_rate(record: Record) -> Chart:
    """The learning rate that the submission logged."""
    title = "Learning rate"
    series = record.rate
    if not series:
        return scales.empty(title, "the submission logged no learning_rate")
    x = scales.step_scale([series])
    y = scales.fitted([series.values], HEIGHT - BOTTOM, TOP)
    last = scales.compact(float(series.finite()[-1]))
    body = [*scales.axes(x, y, "learning rate")]
    body.append(scales.line(series.steps, series.values, x, y, 0))
    return Chart(title, f"Last value {last}.", WIDTH, HEIGHT, "".join(body), last)


def performance(record: Record) -> Chart:
    """The mini-batch loss, and the target's metric at evaluations on a second axis."""
    title = "Performance"
    loss = record.series("Loss")
    splits = [(s, record.evaluated(s)) for s in ("train", "validation")]
    if not loss and not any(series for _, series in splits):
        return scales.empty(title)
    x = scales.step_scale([loss, *(series for _, series in splits)])
    x = Scale(x.low, x.high, LEFT, WIDTH - LEFT)
    left = scales.fitted([loss.values], HEIGHT - BOTTOM, TOP)
    right = scales.fitted([s.values for _, s in splits], HEIGHT - BOTTOM, TOP)
    body: list[Any] = [
        *scales.axes(x, left, "mini-batch loss"),
        scales.dots(loss, x, left, _GREY, "loss"),
        scales.line(loss.steps, loss.average(), x, left, 0),
    ]
    told = []
    for number, (split, series) in enumerate(splits, start=1):
        if series:
            last = scales.compact(float(series.finite()[-1]))
            told.append(f"{split} {record.metric} {last}")
            is_dashed = split == "train"
            body.append(
                scales.line(
                    series.steps, series.values, x, right, number, dashed=is_dashed
                )
            )
    if told:
        label = f"{record.metric}, dashed on train"
        body += scales.right_axis(right, x.end, label, 2)
    description = "; ".join(told) or "No evaluation yet"
    return Chart(
        title, f"{description}.", WIDTH, HEIGHT, "".join(body), ", ".join(told)
    )
