"""The protocol's tables, one for each analysis."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from algoperf.scoring.tables import NONE, Cell, DataTable, plain_table

from . import analyses
from .analyses import Gain, Heatmap, Ranks, Shift, Simulation, Sweep, Wins
from .cells import Cell as GridCell
from .cells import Grid, cell_words

Titles = Mapping[str, str]  # of optimizers, by name
_SIMULATED = (1, 2, 5, 10, 25, 50, 75)


def _number(value: float, style: str = ".4g") -> Cell:
    return Cell(f"{value:{style}}", value) if math.isfinite(value) else Cell(NONE)


def _percent(value: float) -> Cell:
    """A share in per cent; shaded where it is an improvement."""
    if not math.isfinite(value):
        return Cell(NONE)
    text = f"{100 * value:+.1f} %"
    return Cell(text, value, share=min(max(value, 0.0), 1.0))


def results(grid: Grid, titles: Titles, schedule: str) -> DataTable:
    """Test metric of every cell: mean and deviation over the seeds."""
    header = ["problem", "optimizer", *grid.budgets]
    rows = [
        [
            problem,
            titles.get(name, name),
            *(
                _performance(grid.cell(problem, name, budget, schedule))
                for budget in grid.budgets
            ),
        ]
        for problem in grid.problems
        for name in grid.optimizers
    ]
    note = (
        "Mean and sample standard deviation of the last test value over the seeds: the loss, "
        "or the accuracy where the problem has one. A run that diverged counts with its "
        "value from before training."
    )
    caption = f"Test results, schedule {schedule}"
    return plain_table(f"valley_results_{schedule}", caption, header, rows, note)


def _performance(cell: GridCell | None) -> Cell:
    if cell is None or not math.isfinite(cell.mean):
        return Cell(NONE)
    words = f"{cell.mean:.4g}"
    if math.isfinite(cell.std):
        words += f" ± {cell.std:.2g}"
    return Cell(words, cell.mean)


def heatmap(found: Heatmap, titles: Titles) -> DataTable:
    """Improvement in per cent: rows untuned, columns tuned."""
    names = [titles.get(name, name) for name in found.optimizers]
    rows = [
        [name, *map(_percent, row), _percent(float(np.nanmedian(row)))]
        if np.isfinite(row).any()
        else [name, *map(_percent, row), Cell(NONE)]
        for name, row in zip(names, found.values.tolist(), strict=True)
    ]
    note = (
        "The mean over the problems of the relative improvement of the test metric when one "
        "changes from the defaults of the row's optimizer to the tuned optimizer of the "
        "column. The diagonal is the gain of tuning alone."
    )
    caption = f"From defaults to tuned: {cell_words(found.budget, found.schedule)}"
    header = ["untuned", *names, "median"]
    key = f"valley_heatmap_{found.budget}_{found.schedule}"
    return plain_table(key, caption, header, rows, note)


def gains(found: Sequence[Gain]) -> DataTable:
    """Quartiles over optimizers and problems by budget and schedule."""
    rows = [
        [
            gain.schedule,
            gain.budget,
            *map(_percent, (gain.low, gain.median, gain.high)),
            f"{sum(v > 0 for v in gain.of_optimizers.values())} of "
            f"{len(gain.of_optimizers)}",
        ]
        for gain in found
    ]
    header = ["schedule", "budget", "25 %", "median", "75 %", "optimizers that gain"]
    note = "Relative improvement over the defaults with a constant schedule."
    return plain_table(
        "valley_gains", "Gain from tuning and schedules", header, rows, note
    )


def ranks(found: Ranks, titles: Titles) -> DataTable:
    """The ranks of a budget and schedule, the best mean first."""
    order = np.argsort(np.where(np.isnan(found.means), np.inf, found.means))
    rows = [
        [
            titles.get(found.optimizers[i], found.optimizers[i]),
            _number(float(found.means[i]), ".1f"),
            *(_number(float(rank), ".1f") for rank in found.ranks[i]),
        ]
        for i in order
    ]
    caption = f"Ranks: {cell_words(found.budget, found.schedule)}"
    key = f"valley_ranks_{found.budget}_{found.schedule}"
    return plain_table(key, caption, ["optimizer", "mean", *found.problems], rows)


def wins(found: Sequence[Wins], titles: Titles) -> DataTable:
    """Wins and draws over all cells."""
    rows = [
        [titles.get(w.optimizer, w.optimizer), w.wins, w.draws, w.cells]
        for w in sorted(found, key=lambda w: (-w.wins, -w.draws))
    ]
    note = (
        "Draws: not the best of its problem, budget and schedule, but within one standard "
        "deviation of the best."
    )
    header = ["optimizer", "wins", "draws", "cells"]
    return plain_table("valley_wins", "Wins and draws", header, rows, note)


def parallel(grid: Grid, titles: Titles, budget: str, schedule: str) -> DataTable:
    """What the parallel coordinates show: tuned values, by how far from the best ever."""
    header = ["optimizer"]
    header += [f"{problem}, from the best" for problem in grid.problems]
    best = {problem: analyses.best_ever(grid, problem) for problem in grid.problems}

    def cell_of(name: str, problem: str) -> Cell:
        found = grid.cell(problem, name, budget, schedule)
        if found is None or not math.isfinite(found.mean):
            return Cell(NONE)
        target = found.problem.target
        away = abs(target.cost(found.mean) - target.cost(best[problem]))
        return Cell(f"{away:.4g}", away)

    rows = [
        [titles.get(name, name), *(cell_of(name, problem) for problem in grid.problems)]
        for name in grid.optimizers
    ]
    note = "The distance to the best mean of any cell of the problem. 0 is the best."
    key = f"valley_parallel_{budget}_{schedule}"
    caption = f"Distance to the best: {cell_words(budget, schedule)}"
    return plain_table(key, caption, header, rows, note)


def sweep(found: Sweep) -> DataTable:
    """Spread over the seeds by learning rate."""
    rows = []
    for rate, finals, failed, is_danger in zip(
        found.rates, found.finals, found.failed, found.danger, strict=True
    ):
        finite = finals[np.isfinite(finals)]
        ends = (finite.min(), np.median(finite), finite.max()) if len(finite) else ()
        cells = [_number(float(v)) for v in ends] or [Cell(NONE)] * 3
        rate_cell = Cell(f"{rate:.2e}", float(rate))
        words = "some seeds" if is_danger else ("all" if failed else "")
        rows.append([rate_cell, *cells, f"{failed} of {len(finals)}", words])
    header = [
        "learning rate",
        "lowest",
        "median",
        "highest",
        "diverged",
        "who diverges",
    ]
    name = found.problem.name
    return plain_table(
        f"valley_seeds_{name}", f"Seeds of {found.optimizer} on {name}", header, rows
    )


def shifts(found: Sequence[Shift], titles: Titles) -> DataTable:
    """Ranks before and after a second tuning."""
    rows = [
        [
            shift.problem,
            titles.get(shift.optimizer, shift.optimizer),
            _number(shift.before),
            _number(shift.after),
            _number(shift.rank_before, ".1f"),
            _number(shift.rank_after, ".1f"),
        ]
        for shift in found
    ]
    header = ["problem", "optimizer", "first", "again", "rank", "rank again"]
    return plain_table("valley_retuning", "Tuned again", header, rows)


def simulations(found: Sequence[Simulation], titles: Titles) -> DataTable:
    """The expected best of n tuning runs."""
    most = max(len(s.numbers) for s in found)
    shown = [n for n in _SIMULATED if n <= most]
    rows = [
        [
            s.problem.name,
            s.schedule,
            titles.get(s.optimizer, s.optimizer),
            *(
                _number(float(s.values[n - 1])) if n <= len(s.values) else Cell(NONE)
                for n in shown
            ),
        ]
        for s in found
    ]
    note = (
        "Test value of the setting that has the best validation value of n, drawn without "
        "replacement from the tuning runs: the expected value."
    )
    header = ["problem", "schedule", "optimizer", *(f"n = {n}" for n in shown)]
    return plain_table("valley_simulation", "Simulated budgets", header, rows, note)
