"""What the cells of a study say, as values; tables and figures are made from these."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.definition import Target

from ..deepobs.runs import Problem, Setting
from .cells import CONSTANT, ONE_SHOT, Cell, Grid, tuning_cost


def improvement(before: Cell, after: Cell) -> float:
    """The relative improvement of the test metric from one cell to another.

    Positive is better: (y - x) / x where higher is better, else (x - y) / x. NaN where a value is
    not finite or the first is 0.
    """
    x, y = before.mean, after.mean
    if not (math.isfinite(x) and math.isfinite(y)) or x == 0:
        return math.nan
    target: Target = before.problem.target
    return float((target.cost(x) - target.cost(y)) / abs(x))


def _means(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


@dataclass(frozen=True)
class Heatmap:
    """Improvement from each optimizer's defaults to each tuned one, as mean over problems."""

    optimizers: Sequence[str]
    values: np.ndarray  # [untuned, tuned]; NaN where no problem has both
    budget: str
    schedule: str


def heatmap(grid: Grid, budget: str, schedule: str = CONSTANT) -> Heatmap:
    """The out-of-the-box heatmap: rows untuned (one-shot, constant), columns tuned."""
    names = grid.optimizers
    values = np.full((len(names), len(names)), math.nan)
    for i, untuned in enumerate(names):
        for j, tuned in enumerate(names):
            found = []
            for problem in grid.problems:
                before = grid.cell(problem, untuned, ONE_SHOT)
                after = grid.cell(problem, tuned, budget, schedule)
                if before is not None and after is not None:
                    found.append(improvement(before, after))
            values[i, j] = _means(found)
    return Heatmap(names, values, budget, schedule)


@dataclass(frozen=True)
class Gain:
    """The improvement over (one-shot, constant) at one budget and schedule."""

    budget: str
    schedule: str
    of_optimizers: dict[str, float]  # means over the problems
    low: float  # 25th percentile over optimizers and problems
    median: float
    high: float  # 75th percentile


def gains(grid: Grid) -> list[Gain]:
    """For every budget and schedule that has cells, the baseline among them."""
    found = []
    for schedule in grid.schedules:
        for budget in grid.budgets:
            by_name: dict[str, float] = {}
            every: list[float] = []
            for name in grid.optimizers:
                values = _gains_of(grid, name, budget, schedule)
                if values:
                    by_name[name] = _means(values)
                    every += [value for value in values if math.isfinite(value)]
            if every:
                low, median, high = (
                    float(q) for q in np.percentile(every, [25, 50, 75])
                )
                found.append(Gain(budget, schedule, by_name, low, median, high))
    return found


def _gains_of(grid: Grid, name: str, budget: str, schedule: str) -> list[float]:
    found = []
    for problem in grid.problems:
        before = grid.cell(problem, name, ONE_SHOT)
        after = grid.cell(problem, name, budget, schedule)
        if before is not None and after is not None:
            found.append(improvement(before, after))
    return found


@dataclass(frozen=True)
class Ranks:
    """The rank of every optimizer's cell on every problem; 1 is the best."""

    budget: str
    schedule: str
    problems: Sequence[str]
    optimizers: Sequence[str]
    ranks: np.ndarray  # float64 [optimizers, problems]; NaN where there is no cell

    @property
    def means(self) -> np.ndarray:
        """Mean rank of each optimizer over its problems; NaN where it has none."""
        return np.array([_means(row.tolist()) for row in self.ranks])


def ranks(grid: Grid, budget: str, schedule: str) -> Ranks:
    """By mean final test value; equal values share the mean of their ranks."""
    names, problems = grid.optimizers, grid.problems
    table = np.full((len(names), len(problems)), math.nan)
    for j, problem in enumerate(problems):
        costs = [
            math.nan if cell is None else cell.cost
            for cell in (grid.cell(problem, n, budget, schedule) for n in names)
        ]
        table[:, j] = rank_of(np.array(costs))
    return Ranks(budget, schedule, problems, names, table)


def rank_of(costs: np.ndarray) -> np.ndarray:
    """Ranks of costs [n], from 1; ties share their mean rank; NaN stays NaN."""
    found = np.full(len(costs), math.nan)
    for i, cost in enumerate(costs):
        if not math.isnan(cost):
            better = np.sum(costs < cost)
            equal = np.sum(costs == cost)
            found[i] = better + (equal + 1) / 2
    return found


@dataclass(frozen=True)
class Wins:
    """How often an optimizer is the best, and how often within a deviation of the best."""

    optimizer: str
    wins: int
    draws: int  # not the best, but its mean is within the best's standard deviation
    cells: int  # in how many it takes part


def wins(grid: Grid) -> list[Wins]:
    """Counted over all problems, budgets and schedules."""
    counts = {name: [0, 0, 0] for name in grid.optimizers}
    for problem in grid.problems:
        for budget in grid.budgets:
            for schedule in grid.schedules:
                _count(grid.column(problem, budget, schedule), counts)
    return [Wins(name, *numbers) for name, numbers in counts.items()]


def _count(column: Sequence[Cell], counts: dict[str, list[int]]) -> None:
    if not column:
        return
    best = min(column, key=lambda cell: cell.cost)
    for cell in column:
        counts[cell.optimizer][2] += 1
        if cell is best:
            counts[cell.optimizer][0] += math.isfinite(cell.cost)
        elif is_draw(cell, best):
            counts[cell.optimizer][1] += 1


def is_draw(cell: Cell, best: Cell) -> bool:
    """Whether a cell is within one standard deviation of the best; never where that is NaN."""
    return bool(cell.cost - best.cost <= best.std)


@dataclass(frozen=True)
class Sweep:
    """The final test values of all seeds by learning rate: the seed study."""

    problem: Problem
    optimizer: str
    rates: np.ndarray  # float64 [settings], ascending
    finals: Sequence[np.ndarray]  # of each, its seeds' values
    failed: np.ndarray  # int64 [settings]: seeds that diverged

    @property
    def danger(self) -> np.ndarray:
        """Learning rates at which some seeds diverge and others do not: bool [settings]."""
        seeds = np.array([len(values) for values in self.finals])
        return (self.failed > 0) & (self.failed < seeds)


def sweeps(grid: Grid, min_seeds: int = 3) -> list[Sweep]:
    """For each optimizer and problem, the settings with several seeds, of one budget.

    Only where the learning rate is all that differs between them and there are several.
    """
    found = []
    for cell in grid.cells.values():
        many = [s for s in cell.settings if len(s.runs) >= min_seeds]
        is_main = cell.schedule == CONSTANT and cell.budget != ONE_SHOT
        if not is_main or len(many) < min_seeds:
            continue
        many = sorted(many, key=lambda s: s.learning_rate)
        if not _differ_in_the_rate_only(many):
            continue
        curve = cell.problem.judged_by
        found.append(
            Sweep(
                cell.problem,
                cell.optimizer,
                np.array([s.learning_rate for s in many]),
                [s.curve(curve)[:, -1] for s in many],
                np.array([sum(r.has_diverged for r in s.runs) for s in many]),
            )
        )
    return found


def _differ_in_the_rate_only(settings: Sequence[Setting]) -> bool:
    points = [dict(s.runs[0].point) for s in settings]
    for point in points:
        point.pop("learning_rate", None)
    return all(point == points[0] for point in points)


def danger_share(grid: Grid) -> tuple[int, int]:
    """How many chosen, repeated settings have seeds that diverged and others; of how many."""
    in_danger = number = 0
    for key, cell in grid.cells.items():
        if key[2] == ONE_SHOT or len(cell.chosen.runs) < 2:
            continue
        number += 1
        failed = sum(run.has_diverged for run in cell.chosen.runs)
        in_danger += 0 < failed < len(cell.chosen.runs)
    return in_danger, number


@dataclass(frozen=True)
class Simulation:
    """The expected final test value of the best of n tuning runs."""

    problem: Problem
    optimizer: str
    schedule: str
    numbers: np.ndarray  # int64 [n]: 1 … all runs
    values: np.ndarray  # float64 [n]


def simulate(grid: Grid) -> list[Simulation]:
    """For each cell of the largest budget: n of its points, drawn without replacement."""
    tuned = [budget for budget in grid.budgets if budget != ONE_SHOT]
    if not tuned:
        return []
    return [
        _simulation(cell)
        for schedule in grid.schedules
        for problem in grid.problems
        for cell in grid.column(problem, tuned[-1], schedule)
        if len(cell.settings) > 1
    ]


def _simulation(cell: Cell) -> Simulation:
    curve, number = cell.problem.judged_by, len(cell.settings)
    values = np.array([s.runs[0].curves[curve][-1] for s in cell.ranked])
    values = np.where(np.isfinite(values), values, np.nan)
    # The r-th best of all is the best of a subset that has it and only worse ones.
    expected = []
    for n in range(1, number + 1):
        shares = [
            math.comb(number - r, n - 1) / math.comb(number, n)
            for r in range(1, number + 1)
        ]
        used = np.array(shares) > 0
        expected.append(float(np.sum(values[used] * np.array(shares)[used])))
    numbers = np.arange(1, number + 1)
    return Simulation(
        cell.problem, cell.optimizer, cell.schedule, numbers, np.array(expected)
    )


@dataclass(frozen=True)
class Shift:
    """An optimizer's rank before and after it was tuned again with another seed."""

    optimizer: str
    problem: str
    before: float
    after: float
    rank_before: float
    rank_after: float


def retuned(grid: Grid, again: Grid, budget: str) -> list[Shift]:
    """The ranks among all optimizers when some have the cells of a second tuning."""
    found = []
    for problem in grid.problems:
        column = grid.column(problem, budget, CONSTANT)
        names = [cell.optimizer for cell in column]
        first = rank_of(np.array([cell.cost for cell in column]))
        for number, cell in enumerate(column):
            second = again.cell(problem, cell.optimizer, budget)
            if second is None:
                continue
            costs = np.array([c.cost for c in column])
            costs[number] = second.cost
            new = rank_of(costs)[number]
            shift = cell.mean, second.mean, float(first[number]), float(new)
            found.append(Shift(names[number], problem, *shift))
    return found


def best_ever(grid: Grid, problem: str) -> float:
    """The best mean of any cell on a problem."""
    cells = [cell for key, cell in grid.cells.items() if key[0] == problem]
    return min(cells, key=lambda cell: cell.cost).mean


def validation_of(cell: Cell) -> float:
    """The value that the chosen setting was chosen by."""
    problem = cell.problem
    cost = tuning_cost(cell.chosen, problem, cell.mode)
    return float(problem.target.cost(cost))
