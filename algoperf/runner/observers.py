"""What a trial's own process tells others while it runs, never on the clock.

Progress, loggers and observers of users run elsewhere: see `trial_observers`.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from algoperf import console
from algoperf.definition import Target
from algoperf.logs import EvaluationRow
from algoperf.runner.clock import Clock


class Scalars:
    """The `metrics_logger` of a submission: appends scalars to the logs, and can do no more."""

    __slots__ = ("append_scalar_metrics",)

    def __init__(self, append: Callable[[Mapping[str, float], int], None]) -> None:
        def append_scalar_metrics(
            metrics: Mapping[str, float], global_step: int
        ) -> None:
            append(metrics, global_step)

        self.append_scalar_metrics = append_scalar_metrics


class Observer(Protocol):
    """Is told what happens; must not disturb it."""

    def on_step(self, step: int, clock: Clock) -> None:
        """After every step; must return at once."""
        ...

    def on_evaluation(self, row: EvaluationRow) -> None:
        """After every evaluation, with its logged row."""
        ...

    def close(self) -> None:
        """At the end of the trial."""
        ...


class Observers:
    """All observers of a trial, and warnings, which people see without any."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def warn(self, text: str) -> None:
        """Prints a sentence that people should read."""
        console.tell(f"algoperf: warning: {text}")

    def on_step(self, step: int, clock: Clock) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_step(step, clock)

    def on_evaluation(self, row: EvaluationRow) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.on_evaluation(row)

    def close(self) -> None:
        """See `Observer`."""
        for observer in self._observers:
            observer.close()


class Best:
    """The best validation metric so far, and how far it is from the target."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.value: float | None = None

    def note(self, row: EvaluationRow) -> None:
        """Takes note of an evaluation."""
        value = row.metrics.get(f"validation/{self._target.metric}", float("nan"))
        if self.value is None or self._target.is_better(value, self.value):
            self.value = value

    def words(self) -> str:
        """Such as `best accuracy 0.91, 0.0115 to target`; empty before the first evaluation."""
        if self.value is None:
            return ""
        target = self._target
        to_go = f"{abs(target.validation - self.value):.4g} to target"
        if target.is_better(self.value, target.validation):
            to_go = "target reached"
        return f"best {target.metric} {self.value:.4g}, {to_go}"


class EvaluationLines:
    """One line on stderr for each evaluation, for batch logs."""

    def __init__(self, label: str, target: Target, budget: float) -> None:
        self._label, self._budget = label, budget
        self._best = Best(target)

    def on_step(self, step: int, clock: Clock) -> None:
        """Nothing: steps are not reported one by one."""

    def on_evaluation(self, row: EvaluationRow) -> None:
        """One line."""
        self._best.note(row)
        console.tell(evaluation_line(self._label, row, self._budget, self._best))

    def close(self) -> None:
        """Nothing is left."""


def evaluation_line(label: str, row: EvaluationRow, budget: float, best: Best) -> str:
    """What batch logs say of an evaluation."""
    parts = [
        f"{label}: step {row.step:,}",
        f"{row.submission_seconds:,.1f} s of {budget:,.0f} s",
        *(f"{split} {value:.4g}" for split, value in losses(row)),
        best.words(),
    ]
    return ", ".join(part for part in parts if part)


def losses(row: EvaluationRow) -> list[tuple[str, float]]:
    """The losses of an evaluation that people look at, as (name, value)."""
    shown = {"train/loss": "train loss", "validation/loss": "validation loss"}
    return [
        (words, row.metrics[name])
        for name, words in shown.items()
        if name in row.metrics
    ]
