"""Runs of the protocol as values, wherever they come from, and what they are grouped by."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from algoperf import registry
from algoperf.definition import Target
from algoperf.errors import UnknownName

LOSSES = ("test_losses", "train_losses")
ACCURACIES = ("test_accuracies", "train_accuracies")
CURVES = (*LOSSES, *ACCURACIES)
VALIDATION = ("valid_losses", "valid_accuracies")  # where there is such a split
LEARNING_RATE = "learning_rate"

# The published sets of problems, P1 to P4 and P5 to P8, and the small forms of the first.
SETS = {
    "small": ("quadratic_deep", "mnist_vae", "fmnist_2c2d", "cifar10_3c3d"),
    "large": ("fmnist_vae", "cifar100_allcnnc", "svhn_wrn164", "tolstoi_char_rnn"),
    "mini": (
        "quadratic_deep",
        "mnist_vae_mini",
        "fmnist_2c2d_mini",
        "cifar10_3c3d_mini",
    ),
}

_ACCURACY = "accuracy"
# In tables and figures these come first, in this order, under any of their names.
_FIRST = ("sgd", "momentum", "adam")
_CLASS_NAMES = {
    "gradientdescentoptimizer": "sgd",
    "momentumoptimizer": "momentum",
    "adamoptimizer": "adam",
}


@dataclass(frozen=True)
class Problem:
    """A test problem: what its runs are judged by, and which value counts as converged."""

    name: str
    target: Target
    convergence: float | None = None  # of the test metric; None: nothing was published

    @property
    def has_accuracy(self) -> bool:
        """Whether it is judged by accuracy, not by loss."""
        return self.target.metric == _ACCURACY

    @property
    def judged_by(self) -> str:
        """The curve that decides: `test_accuracies` or `test_losses`."""
        return ACCURACIES[0] if self.has_accuracy else LOSSES[0]

    def cost(self, values: np.ndarray) -> np.ndarray:
        """Values of the deciding curve, turned so that less is better; never NaN."""
        costs = np.asarray(self.target.cost(np.asarray(values, float)))
        return np.where(np.isfinite(costs), costs, np.inf)


def problem_of(name: str, *, has_accuracy: bool) -> Problem:
    """A test problem by its name; has_accuracy: what its runs have, if it is not ours."""
    try:
        target = registry.definition(name).target
    except UnknownName:
        by_accuracy = Target(_ACCURACY, 1.0, 1.0, "higher")
        by_loss = Target("loss", 0.0, 0.0, "lower")
        return Problem(name, by_accuracy if has_accuracy else by_loss)
    bound = target.test
    is_published = bound is not None and (
        bound < 1.0 if target.metric == _ACCURACY else bound > 0.0
    )
    return Problem(name, target, bound if is_published else None)


@dataclass(frozen=True)
class Run:
    """One training run: its curves have a value before training and after each epoch."""

    problem: str
    optimizer: str
    point: Mapping[str, object]  # hyperparameters, the learning rate among them
    seed: int
    batch_size: int
    # Of CURVES and VALIDATION: float64 [epochs + 1].
    curves: Mapping[str, np.ndarray]
    weight_decay: float | None = None  # None: the problem's default
    has_diverged: bool = False
    ended: str = ""  # UTC, YYYY-MM-DD-HH-MM-SS; empty: not known

    @property
    def num_epochs(self) -> int:
        """Number of epochs that it was trained for."""
        return len(self.curves[LOSSES[0]]) - 1

    @property
    def learning_rate(self) -> float:
        """Its learning rate; NaN where its point has none."""
        value = self.point.get(LEARNING_RATE)
        return float(value) if isinstance(value, int | float) else float("nan")

    @property
    def setting(self) -> tuple[object, ...]:
        """What runs that differ in their seeds only have in common."""
        point = tuple(sorted((name, str(value)) for name, value in self.point.items()))
        return self.num_epochs, self.batch_size, self.weight_decay, point


@dataclass(frozen=True)
class Setting:
    """Runs of one optimizer that differ in their seeds only, in the order of the seeds."""

    runs: tuple[Run, ...]

    @property
    def learning_rate(self) -> float:
        """The learning rate of its runs."""
        return self.runs[0].learning_rate

    @property
    def num_epochs(self) -> int:
        """The number of epochs of its runs."""
        return self.runs[0].num_epochs

    def has(self, curve: str) -> bool:
        """Whether all its runs have a curve."""
        return all(curve in run.curves for run in self.runs)

    def curve(self, name: str) -> np.ndarray:
        """The curves of all runs: float64 [runs, epochs + 1]."""
        return np.stack([run.curves[name] for run in self.runs])


@dataclass(frozen=True)
class Scan:
    """Runs that were read, and what was passed over: a phrase for each."""

    runs: list[Run] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def with_divergence(run: Run) -> Run:
    """The run by the rule for divergence: from the first loss that is not finite on, all
    curves have their initial values.
    """
    losses = np.stack([run.curves[name] for name in LOSSES])
    broken = np.flatnonzero(~np.isfinite(losses).all(axis=0))
    if not len(broken):
        return run
    epochs = np.arange(losses.shape[1])
    curves = {
        name: np.where(epochs >= broken[0], values[0], values)
        for name, values in run.curves.items()
    }
    return replace(run, curves=curves, has_diverged=True)


def settings_of(runs: Iterable[Run]) -> dict[tuple[str, str], list[Setting]]:
    """The settings of each problem and optimizer; by learning rate."""
    groups: dict[tuple[str, str], dict[object, list[Run]]] = {}
    for run in runs:
        settings = groups.setdefault((run.problem, run.optimizer), {})
        settings.setdefault(run.setting, []).append(run)
    return {
        key: sorted(
            (
                Setting(tuple(sorted(found, key=lambda run: run.seed)))
                for found in settings.values()
            ),
            key=lambda setting: setting.learning_rate,
        )
        for key, settings in groups.items()
    }


def problems_in_order(problems: Sequence[str]) -> list[str]:
    """Names, each once: those of the published sets first, the others as they come."""
    known = [name for names in SETS.values() for name in names]

    def place(name: str) -> int:
        return known.index(name) if name in known else len(known)

    return sorted(dict.fromkeys(problems), key=place)


def in_order(optimizers: Sequence[str]) -> list[str]:
    """Names, each once: SGD, Momentum and Adam first, the others as they come."""

    def place(name: str) -> int:
        known = _CLASS_NAMES.get(name.lower(), name.lower())
        return _FIRST.index(known) if known in _FIRST else len(_FIRST)

    return sorted(dict.fromkeys(optimizers), key=place)
