"""Simulated tuning budgets: the best of B trials (paper, tables 5, 6 and 21).

The paper draws groups of B trials with replacement from M real ones and takes each
group's best by validation. The distribution of that best is known exactly, so nothing
is drawn here: the best is among the r best trials with probability 1 - (1 - r/M)^B.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.definition import Target

from ..figures import Chart, Charts, Curve, Figure, Mark
from ..leaderboard import Leaderboard
from ..report.document import Section
from ..tables import NONE, Cell, DataTable, plain_table
from .values import Best, as_costs, best_evaluation

BUDGETS = (1, 2, 3, 5, 10, 20, 50)


@dataclass(frozen=True)
class TuningBudgets:
    """[budget] median and quartiles of the chosen trial's value."""

    budgets: np.ndarray
    median: np.ndarray
    low: np.ndarray  # first quartile, by size
    high: np.ndarray


def probability_of_best(num_trials: int, budget: int) -> np.ndarray:
    """[rank] probability that the trial of that rank is the best of `budget` draws."""
    below = 1.0 - np.arange(num_trials + 1) / num_trials
    chances: np.ndarray = -np.diff(below**budget)
    return chances


def simulate_budgets(
    choose_by: np.ndarray,
    values: np.ndarray,
    budgets: Sequence[int] = BUDGETS,
) -> TuningBudgets:
    """Distribution of the value of the trial with the smallest `choose_by` of B draws.

    Both: [trial], without NaN in `choose_by` (infinity: diverged); values may be
    non-finite.
    """
    order = np.lexsort([values, choose_by])
    chosen = values[order]
    by_size = np.argsort(chosen, kind="stable")
    quantiles = []
    for budget in budgets:
        cumulative = probability_of_best(len(chosen), budget)[by_size].cumsum()
        # 1e-12: sums of probabilities that reach a quantile exactly, up to rounding.
        places = np.searchsorted(cumulative + 1e-12, (0.25, 0.5, 0.75))
        quantiles.append(chosen[by_size[np.minimum(places, len(chosen) - 1)]])
    low, middle, high = np.array(quantiles).T
    return TuningBudgets(np.array(budgets), middle, low, high)


def report(board: Leaderboard) -> Section:
    """A table and a chart per workload, over all trials of a submission on it."""
    names = [entry.submission for entry in board.entries]
    tables, charts = [], []
    for workload in board.pool.bases:
        target = board.pool.target(workload)
        found = {
            entry.submission: _of_submission(board, entry.submission, workload, target)
            for entry in board.entries
        }
        present = {name: b for name, b in found.items() if b is not None}
        if present:
            tables.append(_table(workload, target, present))
            charts.append(_chart(workload, target, present, names))
    return Section(
        "budgets",
        "Simulated tuning budgets",
        "How good the best of B trials is, when B trials are drawn with replacement from "
        "those that were run and the best is chosen by its validation value.",
        [*tables, Charts(charts, names, is_dashed=True)],
    )


def _of_submission(
    board: Leaderboard, submission: str, workload: str, target: Target
) -> TuningBudgets | None:
    studies = board.pool.studies.get((submission, workload), {})
    bests: list[Best] = [
        best_evaluation(trial, target) for study in studies.values() for trial in study
    ]
    if not bests:
        return None
    values = np.array([best.validation for best in bests])
    costs = as_costs(values[:, None], [target])[:, 0]
    return simulate_budgets(costs, target.cost(costs))


def _table(workload: str, target: Target, found: dict[str, TuningBudgets]) -> DataTable:
    rows = [[name, *_cells(budgets)] for name, budgets in found.items()]
    header = ["submission", *(f"B = {budget}" for budget in BUDGETS)]
    title = (
        f"{workload}: best validation {target.metric} of B trials, median (quartiles)"
    )
    return plain_table(f"budgets_{workload}", title, header, rows)


def _cells(budgets: TuningBudgets) -> Iterator[Cell]:
    """Medians, each with its quartiles; a dash stands for a trial without a value."""
    for row in zip(budgets.median, budgets.low, budgets.high, strict=True):
        middle, low, high = map(float, row)
        words = [f"{v:.5g}" if math.isfinite(v) else NONE for v in (middle, low, high)]
        value = middle if math.isfinite(middle) else None
        detail = f"({words[1]} .. {words[2]})"
        yield Cell(words[0], value, (low, high), detail)


def _chart(
    workload: str,
    target: Target,
    found: dict[str, TuningBudgets],
    names: Sequence[str],
) -> Chart:
    curves = [
        Curve(
            names.index(name),
            budgets.budgets.tolist(),
            budgets.median.tolist(),
            kind="line",
            low=budgets.low.tolist(),
            high=budgets.high.tolist(),
        )
        for name, budgets in found.items()
    ]
    return Figure(
        title=workload,
        description=(
            f"Median and quartiles of the best validation {target.metric} of 1 to "
            f"{BUDGETS[-1]} trials, one curve for each of {len(curves)} submissions."
        ),
        x_label="trials",
        y_label=f"best validation {target.metric}",
        subtitle=f"{target.better} is better",
        curves=curves,
        marks=[Mark("y", target.validation, "target")],
    ).chart()
