"""The protocol's figures: four curves of each problem, and the sensitivity to the learning rate."""

import math
from collections.abc import Sequence

import numpy as np

from algoperf.scoring import drawing
from algoperf.scoring.drawing import log_ticks
from algoperf.scoring.figures import Chart, Curve, Figure, Mark

from .indicators import Result, spread_of
from .runs import ACCURACIES, LOSSES, in_order

_ROWS = (
    (LOSSES[0], "test loss"),
    (LOSSES[1], "training loss"),
    (ACCURACIES[0], "test accuracy"),
    (ACCURACIES[1], "training accuracy"),
)
_SHOWN_PERCENTILES = (20.0, 80.0)
_MARGIN = 0.1  # of the shown range, at either side
_CELL = (264, 192)  # of a figure with many panels
_HEADING = 20


def legend(results: Sequence[Result]) -> list[str]:
    """The optimizers in the order of their colours."""
    return in_order([result.optimizer for result in results])


def curves(results: Sequence[Result]) -> list[list[Chart | None]]:
    """Four rows of charts with a column for each problem; None: it has no such curve."""
    columns = by_problem(results)
    names = legend(results)
    return [
        [_curves_chart(column, names, curve, words) for column in columns]
        for curve, words in _ROWS
    ]


def performance(results: Sequence[Result]) -> Chart:
    """The four curves of every problem in one figure."""
    title = "Performance of the chosen settings over the epochs"
    description = (
        "A column for each problem: test loss, training loss, test accuracy and training "
        "accuracy by epoch. Lines are means over the seeds, bands one standard deviation, "
        "the dashed line is the convergence performance. What is far from the middle of "
        "the values runs along the edge."
    )
    headings = [column[0].problem.name for column in by_problem(results)]
    return _panels(title, description, headings, curves(results))


def sensitivity(results: Sequence[Result], per_row: int = 4) -> Chart:
    """A panel for each problem: relative performance by learning rate."""
    charts = sensitivities(results)
    headings = [column[0].problem.name for column in by_problem(results)]
    title = "Sensitivity to the learning rate"
    description = (
        "For each problem the final performance relative to the best, by learning rate, "
        "a line for each optimizer."
    )
    rows = [
        _panels(
            title, description, headings[i : i + per_row], [charts[i : i + per_row]]
        )
        for i in range(0, len(charts), per_row)
    ]
    body, y = [], 0
    for row in rows:
        body.append(f'<svg y="{y}" width="{row.width}" height="{row.height}">')
        body.append(f"{row.body}</svg>")
        y += row.height
    return Chart(title, description, max(r.width for r in rows), y, "".join(body))


def sensitivities(results: Sequence[Result]) -> list[Chart]:
    """Relative performance by learning rate, a chart for each problem."""
    names = legend(results)
    return [_sensitivity_chart(column, names) for column in by_problem(results)]


def by_problem(results: Sequence[Result]) -> list[list[Result]]:
    """The results of each problem, in the order of the columns."""
    columns: dict[str, list[Result]] = {}
    for result in results:
        columns.setdefault(result.problem.name, []).append(result)
    return list(columns.values())


def _curves_chart(
    column: Sequence[Result], names: Sequence[str], curve: str, words: str
) -> Chart | None:
    shown = [result for result in column if result.chosen.has(curve)]
    if not shown:
        return None
    problem = column[0].problem
    lines = [_line(result, names, curve) for result in shown]
    marks = []
    if curve == problem.judged_by and problem.convergence is not None:
        marks = [Mark("y", problem.convergence)]
    return Figure(
        f"{problem.name}: {words}",
        f"The {words} of {problem.name} by epoch, for {len(shown)} optimizers.",
        "epoch",
        words,
        lines,
        y_range=range_of(shown, curve),
        marks=marks,
    ).chart()


def _line(result: Result, names: Sequence[str], curve: str) -> Curve:
    mean, std = spread_of(result.chosen.curve(curve))
    return Curve(
        names.index(result.optimizer),
        list(range(len(mean))),
        mean.tolist(),
        "line",
        low=(mean - std).tolist(),
        high=(mean + std).tolist(),
    )


def range_of(column: Sequence[Result], curve: str) -> tuple[float, float] | None:
    """The range of a problem's panel: what `shown_range` says of the means that it shows."""
    means = [spread_of(result.chosen.curve(curve))[0] for result in column]
    return shown_range([y for mean in means for y in mean.tolist()])


def shown_range(values: Sequence[float]) -> tuple[float, float] | None:
    """From the 20th to the 80th percentile of the finite values, and a tenth more."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = (float(p) for p in np.percentile(finite, _SHOWN_PERCENTILES))
    space = _MARGIN * (high - low)
    return (low - space, high + space) if high > low else None


def _sensitivity_chart(column: Sequence[Result], names: Sequence[str]) -> Chart:
    lines, rates = [], []
    for result in column:
        found = result.sensitivity
        is_drawn = found.learning_rates > 0
        x = found.learning_rates[is_drawn]
        rates += x.tolist()
        number = names.index(result.optimizer)
        y = found.relative[is_drawn].tolist()
        lines.append(Curve(number, np.log10(x).tolist(), y, "line"))
    ticks = log_ticks(min(rates), max(rates)) if rates else []
    name = column[0].problem.name
    return Figure(
        f"{name}: sensitivity to the learning rate",
        f"Relative performance on {name} by learning rate; 1 is the best.",
        "learning rate",
        "relative performance",
        lines,
        y_range=(0.0, 1.05),
        x_ticks=ticks,
    ).chart()


def _panels(
    title: str,
    description: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[Chart | None]],
) -> Chart:
    """Charts in rows, all of one size, with a heading above each column."""
    width, height = _CELL
    parts = [
        drawing.text((i + 0.5) * width, 14, words, anchor="middle", kind="target")
        for i, words in enumerate(headings)
    ]
    for row, charts in enumerate(rows):
        for column, chart in enumerate(charts):
            if chart is not None:
                parts.append(
                    f'<svg x="{column * width}" y="{_HEADING + row * height}" '
                    f'width="{width}" height="{height}" '
                    f'viewBox="0 0 {chart.width} {chart.height}">{chart.body}</svg>'
                )
    total = _HEADING + len(rows) * height
    return Chart(title, description, width * len(headings), total, "".join(parts))
