"""The protocol's tables: a summary, the final values of all curves, and the sensitivity."""

import math
from collections.abc import Callable, Sequence

from algoperf.scoring.tables import NONE, Cell, DataTable, plain_table

from .indicators import Result, Spread, spread_of
from .runs import CURVES, in_order

_NAMES = {
    "test_losses": "test loss",
    "train_losses": "training loss",
    "test_accuracies": "test accuracy",
    "train_accuracies": "training accuracy",
}


def summary(results: Sequence[Result]) -> DataTable:
    """Performance, speed and the chosen learning rate by problem and optimizer."""
    rows: list[tuple[str, Callable[[Result], Cell]]] = [
        ("performance", _performance),
        ("speed (epochs)", lambda r: _number(r.speed, ".1f")),
        ("learning rate", lambda r: _number(r.chosen.learning_rate, ".2e")),
        ("seeds", lambda r: Cell(str(len(r.chosen.runs)), len(r.chosen.runs))),
    ]
    note = (
        "Performance: mean of the final test accuracy in per cent, or of the final test loss, "
        "with the sample standard deviation over the seeds. Speed: epochs until the "
        "convergence performance, which is the published one or, for a small form, its "
        f"target; {NONE} where there is none."
    )
    return _table("deepobs_summary", "Performance, speed, tuning", results, rows, note)


def finals(results: Sequence[Result]) -> DataTable:
    """The last value of each curve, the mean over the seeds."""

    def cell(curve: str) -> Callable[[Result], Cell]:
        def of(result: Result) -> Cell:
            if not result.chosen.has(curve):
                return Cell(NONE)
            return _number(spread_of(result.chosen.curve(curve))[0][-1], ".4g")

        return of

    rows = [(_NAMES[curve], cell(curve)) for curve in CURVES]
    note = "Losses include the regulariser. Means over the seeds of the chosen setting."
    return _table("deepobs_finals", "Final values of the curves", results, rows, note)


def sensitivities(results: Sequence[Result]) -> DataTable:
    """How many learning rates are good, and how many diverge."""
    rows: list[tuple[str, Callable[[Result], Cell]]] = [
        ("settings", lambda r: _count(len(r.settings))),
        ("nearly as good as the best", lambda r: _count(r.sensitivity.num_good())),
        ("diverged", lambda r: _count(r.sensitivity.num_diverged)),
    ]
    note = "Nearly as good: a relative performance of at least 0.95."
    title = "Sensitivity to the learning rate"
    return _table("deepobs_sensitivity", title, results, rows, note)


def _table(
    key: str,
    caption: str,
    results: Sequence[Result],
    rows: Sequence[tuple[str, Callable[[Result], Cell]]],
    note: str,
) -> DataTable:
    """A row for each problem and quantity, a column for each optimizer."""
    optimizers = in_order([r.optimizer for r in results])
    problems = list(dict.fromkeys(r.problem.name for r in results))
    by_name = {(r.problem.name, r.optimizer): r for r in results}
    lines = [
        [
            problem,
            quantity,
            *(
                cell(by_name[problem, optimizer])
                if (problem, optimizer) in by_name
                else Cell(NONE)
                for optimizer in optimizers
            ),
        ]
        for problem in problems
        for quantity, cell in rows
    ]
    return plain_table(key, caption, ["problem", "quantity", *optimizers], lines, note)


def _count(number: int) -> Cell:
    return Cell(str(number), number)


def _number(value: float, style: str) -> Cell:
    return Cell(f"{value:{style}}", value) if math.isfinite(value) else Cell(NONE)


def _performance(result: Result) -> Cell:
    found, factor = result.performance, 100.0 if result.problem.has_accuracy else 1.0
    spread = Spread(found.mean * factor, found.std * factor)
    if not math.isfinite(spread.mean):
        return Cell(NONE)
    words = f"{spread.mean:.2f}"
    if math.isfinite(spread.std):
        words += f" ± {spread.std:.2f}"
    return Cell(words, found.mean)
