"""The protocol's figures: heatmap, gains, parallel coordinates, seeds, budgets, ranks."""

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from algoperf.scoring import drawing
from algoperf.scoring.drawing import Scale, log_ticks
from algoperf.scoring.figures import Chart, Curve, Figure, Mark
from algoperf.scoring.tables import NONE

from . import analyses
from .analyses import Gain, Heatmap, Ranks, Shift, Simulation, Sweep
from .cells import CONSTANT, ONE_SHOT, Grid, cell_words

Titles = Mapping[str, str]
_CAP = 1.0  # relative improvement at which colours of the heatmap end
_MOST = 9.99  # that is written as a number
_BETTER, _WORSE = 1, 0  # series: orange and blue
# Of the heatmap: a square, its names, the space above; with room for the larger letters of
# small screens.
_SIDE, _NAMES, _TOP, _RIGHT = 34, 112, 104, 58
_AXIS_HEIGHT, _AXIS_GAP, _AXIS_LEFT = 260, 150, 70


def heatmap(found: Heatmap, titles: Titles) -> Chart:
    """A square for each pair: orange where changing improves, blue where it harms."""
    names = [titles.get(name, name) for name in found.optimizers]
    number = len(names)
    parts = []
    for j, name in enumerate(names):
        x = _NAMES + (j + 0.5) * _SIDE
        parts.append(
            f'<g transform="translate({x + 4:g} {_TOP - 6}) rotate(-60)">'
            f"{drawing.text(0, 0, name, kind='tick')}</g>"
        )
    for i, name in enumerate(names):
        y = _TOP + i * _SIDE
        words = drawing.text(_NAMES - 6, y + 21, name, anchor="end", kind="tick")
        parts.append(words)
        for j, value in enumerate(found.values[i].tolist()):
            tip = f"{name} by default to {names[j]} tuned"
            parts.append(_square(_NAMES + j * _SIDE, y, value, tip))
    bottom = _TOP + number * _SIDE
    parts.append(drawing.text(_NAMES, bottom + 18, _KEY))
    width = _NAMES + number * _SIDE + _RIGHT
    budget = cell_words(found.budget, found.schedule)
    description = (
        f"Rows are {number} untuned optimizers, columns the same ones tuned ({budget}). Each "
        "square has the mean relative improvement in per cent from the row's defaults to "
        "the tuned optimizer of the column."
    )
    return Chart(
        f"From defaults (rows) to tuned (columns): {budget}",
        description,
        max(width, 400),
        bottom + 28,
        "".join(parts),
    )


_KEY = "Per cent. Orange: better. Blue: worse. Full colour from 100 % on."


def _square(x: float, y: float, value: float, tip: str) -> str:
    if not math.isfinite(value):
        return drawing.text(x + _SIDE / 2, y + 21, NONE, anchor="middle", kind="tick")
    strength = min(abs(value) / _CAP, 1.0) ** 0.5
    series = _BETTER if value > 0 else _WORSE
    words = f"{round(100 * value)}"
    if abs(value) > _MOST:
        words = f">{100 * _MOST:.0f}" if value > 0 else f"<-{100 * _MOST:.0f}"
    fill = (
        f'<rect class="dot {drawing.colour(series)}" opacity="{0.55 * strength:.2f}" '
        f'x="{x:g}" y="{y:g}" width="{_SIDE}" height="{_SIDE}"/>'
    )
    label = drawing.text(x + _SIDE / 2, y + 21, words, anchor="middle", kind="target")
    title = f"<title>{escape(f'{tip}: {100 * value:+.2f} %')}</title>"
    return f"<g>{title}{fill}{label}</g>"


def gains(found: Sequence[Gain], titles: Titles, optimizers: Sequence[str]) -> Chart:
    """A line for each optimizer along budgets and schedules, and the quartiles over all."""
    places = list(range(len(found)))
    band = Curve(
        0,
        places,
        [100 * gain.median for gain in found],
        "line",
        low=[100 * gain.low for gain in found],
        high=[100 * gain.high for gain in found],
    )
    # One quiet colour for all optimizers: the last of the palette.
    others = [
        Curve(
            drawing.NUM_COLOURS - 1,
            places,
            [100 * gain.of_optimizers.get(name, math.nan) for gain in found],
            "line",
        )
        for name in optimizers
    ]
    lows = [100 * gain.low for gain in found] + [0.0]
    highs = [100 * gain.high for gain in found]
    space = 0.3 * (max(highs) - min(lows) or 1.0)
    return Figure(
        "Gain over the defaults with a constant schedule",
        "Relative improvement in per cent by budget and schedule: a grey line for each "
        f"of {len(optimizers)} optimizers, a blue one for the median of all, and a band "
        "from the 25th to the 75th percentile. Lines far outside run along the edge.",
        "budget and schedule",
        "improvement, %",
        [band, *others],
        x_range=(-0.3, len(found) - 0.7),
        y_range=(min(lows) - space, max(highs) + space),
        x_ticks=[(i, _place(gain)) for i, gain in enumerate(found)],
    ).chart()


def _place(gain: Gain) -> str:
    return (
        gain.budget if gain.schedule == CONSTANT else f"{gain.budget} {gain.schedule}"
    )


def parallel(grid: Grid, titles: Titles, budget: str, schedule: str) -> Chart:
    """An axis for each problem, a line for each optimizer; better is up on all of them.

    The top is the best mean of the whole study, the bottom as far below default Adam (or,
    without it, the worst default) as the top is above it, at least the median of the lines.
    """
    problems = grid.problems
    scales = {p: _axis(grid, p, budget, schedule) for p in problems}
    parts = []
    for number, problem in enumerate(problems):
        parts += _drawn_axis(grid, problem, scales[problem], number)
    for number, name in reversed(list(enumerate(grid.optimizers))):
        parts.append(_line_of(grid, name, number, scales, budget, schedule))
    parts += _marks(grid, scales)
    if len(problems) == 1:
        parts += _labels(grid, titles, scales, budget, schedule)
    width = _AXIS_LEFT + _AXIS_GAP * len(problems) + 130
    title = f"Results: {cell_words(budget, schedule)}"
    description = (
        f"One vertical axis for each of {len(problems)} problems; the best result of the "
        "study is at the top. A line for each optimizer, or a dot where there is one "
        "problem; a triangle for default Adam, a square for default AdaBound."
    )
    return Chart(title, description, max(width, 400), _AXIS_HEIGHT + 70, "".join(parts))


def _axis(grid: Grid, problem: str, budget: str, schedule: str) -> Scale:
    """From costs to heights."""
    column = grid.column(problem, budget, schedule)
    costs = [cell.cost for cell in column if math.isfinite(cell.cost)]
    target = column[0].problem.target if column else None
    if target is None or not costs:
        return Scale(1.0, 0.0, 30 + _AXIS_HEIGHT, 30)
    best = float(target.cost(analyses.best_ever(grid, problem)))
    default = grid.cell(problem, "adam", ONE_SHOT)
    middle = default.cost if default and math.isfinite(default.cost) else max(costs)
    bottom = max(best + 2 * (middle - best), float(np.percentile(costs, 75)))
    return Scale(bottom if bottom > best else best + 1.0, best, 30 + _AXIS_HEIGHT, 30)


def _height(scale: Scale, cost: float) -> float:
    """Values below the axis lie just under its end."""
    return (
        min(scale.at(cost), scale.start + 8) if math.isfinite(cost) else scale.start + 8
    )


def _drawn_axis(grid: Grid, problem: str, scale: Scale, number: int) -> list[str]:
    x = _AXIS_LEFT + number * _AXIS_GAP
    cells = [cell for key, cell in grid.cells.items() if key[0] == problem]
    target = cells[0].problem.target
    ends = ((scale.end, scale.high), (scale.start, scale.low))
    return [
        drawing.line(x, scale.end, x, scale.start, "axis"),
        *(
            drawing.text(
                x - 6, y + 4, drawing.short(target.cost(v)), anchor="end", kind="tick"
            )
            for y, v in ends
        ),
        drawing.text(x, scale.start + 28, problem, anchor="middle", kind="name"),
    ]


def _line_of(
    grid: Grid,
    name: str,
    number: int,
    scales: Mapping[str, Scale],
    budget: str,
    schedule: str,
) -> str:
    places = []
    for i, (problem, scale) in enumerate(scales.items()):
        cell = grid.cell(problem, name, budget, schedule)
        if cell is not None:
            places.append((_AXIS_LEFT + i * _AXIS_GAP, _height(scale, cell.cost)))
    if not places:
        return ""
    if len(places) == 1:
        (x, y) = places[0]
        return drawing.group(number, [drawing.dot(x, y, number, name)])
    corners = drawing.corners(places, is_step=False)
    return drawing.group(
        number, [drawing.path(corners, number, "profile", dashed=True)]
    )


def _marks(grid: Grid, scales: Mapping[str, Scale]) -> list[str]:
    """The defaults of Adam and AdaBound."""
    parts = []
    for i, (problem, scale) in enumerate(scales.items()):
        for name, words in (("adam", "▼"), ("adabound", "▲")):
            cell = grid.cell(problem, name, ONE_SHOT)
            if cell is not None:
                x, y = _AXIS_LEFT + i * _AXIS_GAP, _height(scale, cell.cost)
                parts.append(
                    drawing.text(x + 9, y + 4, words, anchor="middle", kind="target")
                )
    return parts


def _labels(
    grid: Grid,
    titles: Titles,
    scales: Mapping[str, Scale],
    budget: str,
    schedule: str,
) -> list[str]:
    """Names beside the only axis, moved apart, with lines to their dots."""
    (problem, scale), x = next(iter(scales.items())), _AXIS_LEFT
    column = sorted(grid.column(problem, budget, schedule), key=lambda c: c.cost)
    wanted = [_height(scale, cell.cost) for cell in column]
    places: list[float] = []
    step = 16.0
    for number, y in enumerate(wanted):
        places.append(max(y, places[-1] + step) if number else y)
    over = max(0.0, places[-1] - (scale.start + 14)) if places else 0.0
    for number in reversed(range(len(places))):
        limit = scale.start + 14 - (len(places) - 1 - number) * step
        places[number] = min(places[number], limit) if over else places[number]
    parts = []
    for cell, y, label in zip(column, wanted, places, strict=True):
        parts.append(drawing.line(x + 20, y, x + 58, label, "grid"))
        words = f"{titles.get(cell.optimizer, cell.optimizer)}  {cell.mean:.4g}"
        parts.append(drawing.text(x + 62, label + 4, words, kind="tick"))
    return parts


def sweep(found: Sweep) -> Chart:
    """The range of the seeds' final values by learning rate; dashes where only some fail."""
    x = np.log10(found.rates)
    finals = [v[np.isfinite(v)] for v in found.finals]
    usable = [i for i, v in enumerate(finals) if len(v)]
    curve = Curve(
        0,
        x[usable].tolist(),
        [float(np.median(finals[i])) for i in usable],
        "line",
        low=[float(finals[i].min()) for i in usable],
        high=[float(finals[i].max()) for i in usable],
    )
    dots = Curve(
        1,
        [float(x[i]) for i in usable for _ in finals[i]],
        [float(value) for i in usable for value in finals[i]],
        "points",
    )
    marks = [
        Mark("x", float(place), "danger" if number == 0 else "")
        for number, place in enumerate(x[found.danger])
    ]
    name = found.problem.name
    return Figure(
        f"{found.optimizer} on {name}: seeds by learning rate",
        "The final test value of every seed by learning rate, with a line through the "
        "medians and a band from the lowest to the highest. Dashed lines stand at "
        "learning rates at which some seeds diverge and others do not.",
        "learning rate",
        "final test value",
        [curve, dots],
        marks=marks,
        x_ticks=log_ticks(float(found.rates.min()), float(found.rates.max())),
    ).chart()


def simulation(found: Sequence[Simulation], optimizers: Sequence[str]) -> Chart:
    """The expected best of n, a line for each optimizer; all of one problem and schedule."""
    lines = [
        Curve(
            optimizers.index(s.optimizer), s.numbers.tolist(), s.values.tolist(), "line"
        )
        for s in found
    ]
    ends = [value for line in lines for value in line.y[4:] if math.isfinite(value)]
    span = (min(ends), float(np.percentile(ends, 90))) if ends else (0.0, 1.0)
    space = 0.1 * (span[1] - span[0]) or 1.0
    name, schedule = found[0].problem.name, found[0].schedule
    return Figure(
        f"{name}, schedule {schedule}: simulated budgets",
        "The expected test value of the best of n tuning runs, by n, a line for each "
        "optimizer. Lines far outside run along the edge.",
        "tuning runs",
        "expected test value",
        lines,
        y_range=(span[0] - space, span[1] + space),
    ).chart()


def rank_chart(found: Ranks, titles: Titles) -> Chart:
    """A row for each optimizer, the best mean rank first, with a dot for each problem."""
    means = np.where(np.isnan(found.means), np.inf, found.means)
    order = [int(i) for i in np.argsort(means)]
    curves = [
        Curve(
            i,
            [float(r) for r in found.ranks[i] if math.isfinite(r)],
            [-float(row)] * int(np.isfinite(found.ranks[i]).sum()),
            "points",
            tips=[
                f"{titles.get(found.optimizers[i], found.optimizers[i])} on {p}: rank {r:g}"
                for p, r in zip(found.problems, found.ranks[i], strict=True)
                if math.isfinite(r)
            ],
        )
        for row, i in enumerate(order)
    ]
    names = [found.optimizers[i] for i in order]
    return Figure(
        f"Ranks: {cell_words(found.budget, found.schedule)}",
        "A row for each optimizer, ordered by mean rank, with a dot for each problem.",
        "rank",
        "",
        curves,
        x_range=(0.5, len(names) + 0.5),
        row_names=[titles.get(name, name) for name in names],
    ).chart()


def win_chart(wins: Sequence[analyses.Wins], titles: Titles) -> Chart:
    """A row for each optimizer: its wins, and its wins and draws."""
    rows = sorted(wins, key=lambda w: (-w.wins, -w.draws))
    places = [-float(i) for i in range(len(rows))]
    won = Curve(1, [float(w.wins) for w in rows], places, "points")
    both = Curve(0, [float(w.wins + w.draws) for w in rows], places, "points")
    return Figure(
        "Wins (orange), and wins and draws (blue)",
        "A row for each optimizer: how many cells it wins, and how many it wins or draws.",
        "cells",
        "",
        [won, both],
        x_range=(0.0, max(1.0, *(float(w.wins + w.draws) for w in rows)) + 0.5),
        row_names=[titles.get(w.optimizer, w.optimizer) for w in rows],
    ).chart()


def shift_chart(shifts: Sequence[Shift], titles: Titles) -> Chart:
    """A line from the first rank to the second for each optimizer and problem."""
    curves = [
        Curve(i, [0.0, 1.0], [-s.rank_before, -s.rank_after], "line")
        for i, s in enumerate(shifts)
    ]
    lowest = max(max(s.rank_before, s.rank_after) for s in shifts)
    ticks = [(-float(r), str(r)) for r in range(1, int(lowest) + 1)]
    return Figure(
        "Ranks before and after tuning again",
        "A line for each optimizer and problem from its first rank to its second.",
        "tuning",
        "rank",
        curves,
        y_range=(-lowest - 0.5, -0.5),
        x_ticks=[(0.0, "first"), (1.0, "again")],
        y_ticks=ticks,
    ).chart()
