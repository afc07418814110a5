"""The protocol's indicators: which setting is chosen, how good it is, how fast, how sensitive."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .runs import (
    LOSSES,
    Problem,
    Run,
    Setting,
    in_order,
    problem_of,
    problems_in_order,
    settings_of,
)

Mode = Literal["final", "best", "most"]
MODES: tuple[Mode, ...] = ("final", "best", "most")


@dataclass(frozen=True)
class Spread:
    """A mean with its sample standard deviation; NaN where there is only one value."""

    mean: float
    std: float


@dataclass(frozen=True)
class Sensitivity:
    """How the final performance depends on the learning rate."""

    learning_rates: np.ndarray  # float64 [settings], ascending
    relative: np.ndarray  # 0 to 1: 1 is the best; 0 where a run diverged
    num_diverged: int  # settings whose final test loss is not finite

    def num_good(self, at_least: float = 0.95) -> int:
        """The number of settings that are nearly as good as the best."""
        return int((self.relative >= at_least).sum())


@dataclass(frozen=True)
class Result:
    """An optimizer on a problem: all settings that were tried, and the one that counts."""

    problem: Problem
    optimizer: str
    settings: Sequence[Setting]
    chosen: Setting

    @property
    def performance(self) -> Spread:
        """The final test metric over the seeds."""
        return final_performance(self.chosen, self.problem)

    @property
    def speed(self) -> float:
        """Epochs until convergence, the mean over the seeds; NaN without a target."""
        return speed(self.chosen, self.problem)

    @property
    def sensitivity(self) -> Sensitivity:
        """Over all settings that have a learning rate."""
        return sensitivity(self.settings, self.problem)


def select(settings: Sequence[Setting], problem: Problem, mode: Mode) -> Setting:
    """The setting that is to be reported.

    `final`: the best mean of the final test metric; `best`: the best value of the mean curve;
    `most`: the most seeds, and the best final mean among those that have as many. A setting
    with a run that ended in a value that is not finite is worse than any other.
    """

    def rank(setting: Setting) -> tuple[float, float]:
        mean = problem.cost(spread_of(setting.curve(problem.judged_by))[0])
        first = {"final": 0.0, "best": mean.min(), "most": -float(len(setting.runs))}
        return first[mode], mean[-1]

    return min(settings, key=rank)


def final_performance(setting: Setting, problem: Problem) -> Spread:
    """Mean and sample standard deviation of the last value of the test metric."""
    mean, std = spread_of(setting.curve(problem.judged_by)[:, -1:])
    is_one = len(setting.runs) == 1
    return Spread(float(mean[0]), math.nan if is_one else float(std[0]))


def spread_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sample standard deviation over the runs of [runs, epochs]; 0 for one run.

    Both are NaN where a value, or its square, is not finite.
    """
    with np.errstate(invalid="ignore", over="ignore"):  # a run that diverged has none
        mean = values.mean(axis=0)
        std = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(mean)
    is_finite = np.isfinite(mean) & np.isfinite(std)
    return np.where(is_finite, mean, np.nan), np.where(is_finite, std, np.nan)


def speed(setting: Setting, problem: Problem) -> float:
    """The mean over the seeds of the first epoch at which the problem has converged.

    Epoch 0 is before training. A seed that never gets there counts as one epoch more than
    there are.
    """
    if problem.convergence is None:
        return math.nan
    costs = problem.cost(setting.curve(problem.judged_by))
    is_there = costs <= problem.target.cost(problem.convergence)
    never = setting.num_epochs + 1
    epochs = np.where(is_there.any(axis=1), is_there.argmax(axis=1), never)
    return float(epochs.mean())


def sensitivity(settings: Sequence[Setting], problem: Problem) -> Sensitivity:
    """Final performance by learning rate, relative to the best.

    That is value / best for accuracies and best / value for losses; 0 for what is not finite.
    """
    settings = [s for s in settings if math.isfinite(s.learning_rate)]
    rates = np.array([s.learning_rate for s in settings])
    finals = np.array([spread_of(s.curve(problem.judged_by))[0][-1] for s in settings])
    losses = np.array([spread_of(s.curve(LOSSES[0]))[0][-1] for s in settings])
    order = np.argsort(rates, kind="stable")
    relative = _relative(finals, problem)
    num_diverged = sum(
        not math.isfinite(loss) or any(run.has_diverged for run in s.runs)
        for s, loss in zip(settings, losses, strict=True)
    )
    return Sensitivity(rates[order], relative[order], num_diverged)


def _relative(finals: np.ndarray, problem: Problem) -> np.ndarray:
    costs = problem.cost(finals)
    if not np.isfinite(costs).any():
        return np.zeros(len(finals))
    best = finals[costs.argmin()]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = finals / best if problem.has_accuracy else best / finals
    ratios = np.where(np.isfinite(ratios) & np.isfinite(costs), ratios, 0.0)
    # A best value of 0 has no ratio to others; it still is the best.
    return np.where(finals == best, 1.0, np.clip(ratios, 0.0, 1.0))


def results(runs: Sequence[Run], mode: Mode = "most") -> list[Result]:
    """What runs say, by problem and then by optimizer."""
    found = settings_of(runs)
    problems = problems_in_order([problem for problem, _ in found])
    optimizers = in_order([optimizer for _, optimizer in found])
    listed = []
    for name in problems:
        for optimizer in optimizers:
            if settings := found.get((name, optimizer)):
                has_accuracy = settings[0].has("test_accuracies")
                problem = problem_of(name, has_accuracy=has_accuracy)
                usable = [s for s in settings if s.has(problem.judged_by)]
                if usable:
                    chosen = select(usable, problem, mode)
                    listed.append(Result(problem, optimizer, usable, chosen))
    return listed
