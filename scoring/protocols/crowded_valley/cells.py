"""Runs of the study as cells of its grid: optimizer, problem, budget, schedule.

A cell has all settings that were tried within its budget, and the one that was chosen: by its
validation value on the tuning seed, and repeated with more seeds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from ..deepobs.runs import (
    VALIDATION,
    Problem,
    Run,
    Setting,
    problem_of,
    problems_in_order,
    settings_of,
)

Mode = Literal["final", "best"]
MODES: tuple[Mode, ...] = ("final", "best")
ONE_SHOT, SMALL, MEDIUM, LARGE = "oneshot", "small", "medium", "large"
BUDGETS = (ONE_SHOT, SMALL, MEDIUM, LARGE)
BUDGET_SIZES: Mapping[str, int] = {SMALL: 25, MEDIUM: 50, LARGE: 75}
# The grid itself; two optimizers tuned again; SGD with many rates and many seeds.
MAIN, RETUNING, SEEDS = "main", "retuning", "seeds"
CONSTANT, COSINE, RESTARTS, TRAPEZOID = "constant", "cosine", "cosine_wr", "ltr"
SCHEDULES = (CONSTANT, COSINE, RESTARTS, TRAPEZOID)


@dataclass(frozen=True)
class ValleyRun:
    """A run, and where it belongs in the grid."""

    run: Run
    budgets: tuple[str, ...]  # it may count for several: the lists of points are nested
    schedule: str = CONSTANT
    study: str = MAIN


@dataclass(frozen=True)
class Scan:
    """Runs that were read, what was passed over, and what to know of the rest."""

    runs: list[ValleyRun] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def cell_words(budget: str, schedule: str) -> str:
    """A budget and a schedule as titles have them."""
    first = "defaults" if budget == ONE_SHOT else f"{budget} budget"
    return f"{first}, schedule {schedule}"


def budgets_of(sample: int) -> tuple[str, ...]:
    """The budgets that have a sample of the tuning list, counted from 0."""
    return tuple(name for name, size in BUDGET_SIZES.items() if sample < size)


def tuning_cost(setting: Setting, problem: Problem, mode: Mode = "final") -> float:
    """What a setting is chosen by, the less the better; infinite where its run diverged.

    The validation value, or where there is none the test value, of the run with the first
    seed: at its end, or the best of its epochs.
    """
    run = setting.runs[0]
    if run.has_diverged:
        return float("inf")
    curve = VALIDATION[1] if problem.has_accuracy else VALIDATION[0]
    costs = problem.cost(run.curves.get(curve, run.curves[problem.judged_by]))
    return float(costs.min() if mode == "best" else costs[-1])


def is_validated(settings: Sequence[Setting]) -> bool:
    """Whether all runs have values of a validation split."""
    return all(
        any(c in run.curves for c in VALIDATION) for s in settings for run in s.runs
    )


@dataclass(frozen=True)
class Cell:
    """An optimizer on a problem, with a budget and a schedule."""

    problem: Problem
    optimizer: str
    budget: str
    schedule: str
    settings: Sequence[Setting]
    mode: Mode = "final"

    @cached_property
    def ranked(self) -> list[Setting]:
        """All settings, the best by `tuning_cost` first."""
        return sorted(
            self.settings, key=lambda s: tuning_cost(s, self.problem, self.mode)
        )

    @cached_property
    def chosen(self) -> Setting:
        """The best of the settings that have the most seeds."""
        most = max(len(setting.runs) for setting in self.settings)
        return next(s for s in self.ranked if len(s.runs) == most)

    @cached_property
    def finals(self) -> np.ndarray:
        """The last test value of every seed: float64 [seeds]; NaN where it is not finite.

        A run that diverged has its value from before training.
        """
        values = self.chosen.curve(self.problem.judged_by)[:, -1]
        return np.where(np.isfinite(values), values, np.nan)

    @property
    def mean(self) -> float:
        """Mean of the seeds' last test values."""
        return float(self.finals.mean())

    @property
    def std(self) -> float:
        """Sample standard deviation of them; NaN for one seed."""
        return float(self.finals.std(ddof=1)) if len(self.finals) > 1 else float("nan")

    @property
    def cost(self) -> float:
        """`mean`, turned so that less is better; infinite where it is not finite."""
        return float(self.problem.cost(np.array(self.mean)))


Key = tuple[str, str, str, str]  # problem, optimizer, budget, schedule


@dataclass(frozen=True)
class Grid:
    """All cells of a study."""

    cells: Mapping[Key, Cell]

    @property
    def problems(self) -> list[str]:
        """Names, in the published order."""
        return problems_in_order([key[0] for key in self.cells])

    @property
    def optimizers(self) -> list[str]:
        """Names, in the order in which they came."""
        return list(dict.fromkeys(key[1] for key in self.cells))

    @property
    def budgets(self) -> list[str]:
        """Those that have cells, from small to large."""
        found = {key[2] for key in self.cells}
        return [budget for budget in BUDGETS if budget in found]

    @property
    def schedules(self) -> list[str]:
        """Those that have cells, the constant one first."""
        found = {key[3] for key in self.cells}
        return [schedule for schedule in SCHEDULES if schedule in found]

    def cell(
        self, problem: str, optimizer: str, budget: str, schedule: str = CONSTANT
    ) -> Cell | None:
        """A cell; None where there is none."""
        return self.cells.get((problem, optimizer, budget, schedule))

    def column(self, problem: str, budget: str, schedule: str) -> list[Cell]:
        """The cells of all optimizers that have one."""
        found = (self.cell(problem, o, budget, schedule) for o in self.optimizers)
        return [cell for cell in found if cell is not None]


def grid_of(
    runs: Iterable[ValleyRun], mode: Mode = "final", order: Sequence[str] = ()
) -> Grid:
    """The cells that runs make. order: of the optimizers, as far as it names them."""
    groups: dict[tuple[str, str], dict[object, Run]] = {}
    for item in runs:
        run = item.run
        # Draws from a narrow range may repeat a point: it counts once for each seed.
        identity = run.problem, run.optimizer, run.setting, run.seed
        for budget in item.budgets:
            groups.setdefault((budget, item.schedule), {}).setdefault(identity, run)
    cells: dict[Key, Cell] = {}
    for (budget, schedule), members in groups.items():
        for (name, optimizer), settings in settings_of(members.values()).items():
            problem = problem_of(name, has_accuracy=settings[0].has("test_accuracies"))
            usable = [s for s in settings if s.has(problem.judged_by)]
            if usable:
                key = name, optimizer, budget, schedule
                cells[key] = Cell(problem, optimizer, budget, schedule, usable, mode)
    known = list(order)

    def place(key: Key) -> int:
        return known.index(key[1]) if key[1] in known else len(known)

    return Grid({key: cells[key] for key in sorted(cells, key=place)})
