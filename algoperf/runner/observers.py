"""Shows how a trial goes, to people: progress on stderr, TensorBoard. Never on the clock."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TextIO

from algoperf import console
from algoperf.definition import Target
from algoperf.logs import EvaluationRow
from algoperf.runner.clock import Clock
from algoperf.runner.event_files import EventFiles

_SECONDS_BETWEEN_UPDATES = 0.5


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


class ProgressLine:
    """One line that is rewritten: step, seconds of the budget, best metric, distance to target."""

    def __init__(
        self, label: str, target: Target, budget: float, stream: TextIO = sys.stderr
    ) -> None:
        self._label = label
        self._target = target
        self._budget = budget
        self._stream = stream
        self._best: float | None = None
        self._shown_at = -_SECONDS_BETWEEN_UPDATES
        self._width = 0

    def on_step(self, step: int, clock: Clock) -> None:
        """Rewrites the line, at most twice a second of submission time."""
        seconds = clock.submission_seconds
        if seconds - self._shown_at >= _SECONDS_BETWEEN_UPDATES:
            self._shown_at = seconds
            self._show(step, seconds)

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Takes note of the best validation metric."""
        value = row.metrics.get(f"validation/{self._target.metric}", float("nan"))
        if self._best is None or self._target.is_better(value, self._best):
            self._best = value
        self._show(row.step, row.submission_seconds)

    def close(self) -> None:
        """Clears the line."""
        self._write("\r" + " " * self._width + "\r")

    def _show(self, step: int, seconds: float) -> None:
        text = (
            f"{self._label}: step {step:,}, {seconds:,.1f} s of {self._budget:,.0f} s"
        )
        if self._best is not None:
            distance = abs(self._target.validation - self._best)
            to_go = (
                "target reached"
                if self._target.is_better(self._best, self._target.validation)
                else f"{distance:.4g} to target"
            )
            text += f", best {self._target.metric} {self._best:.4g}, {to_go}"
        self._write("\r" + text.ljust(self._width))
        self._width = len(text)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # must not end a trial
            self._stream.write(text)
            self._stream.flush()


class TensorBoard:
    """Evaluations and training scalars as TensorBoard events in the trial's folder."""

    def __init__(self, trial: Path) -> None:
        self._events = EventFiles(trial)

    def on_step(self, step: int, clock: Clock) -> None:
        """Nothing: a trial logs its training scalars at evaluations."""

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Copies what the trial has logged."""
        self._events.update()

    def close(self) -> None:
        """Copies what is left."""
        self._events.close()
