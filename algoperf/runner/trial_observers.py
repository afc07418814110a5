"""The observer hook: who is told how trials go. Progress and loggers are made of it.

Observers run in the process that launches trials, which executes no code of a submission; so
they cost a trial's clock nothing, and may start threads. What they are told is read from the
trial's logs and from its board. An observer that fails is dropped with a warning: it must not
end a trial.
"""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import console, logs
from algoperf.definition import Target
from algoperf.errors import AlgoPerfError
from algoperf.evaluations import EvaluationRow
from algoperf.outcome import OutcomeRecord
from algoperf.runner.plan import TrialPlan
from algoperf.runner.supervision.heartbeat import Sign


@dataclass(frozen=True)
class TrialInfo:
    """What is known of a trial before it starts."""

    submission: str
    workload: str
    framework: str
    study: int
    trial: int
    folder: Path  # of its logs; may not exist yet
    target: Target
    hyperparameters: Mapping[str, Any]  # empty in self-tuning
    settings: Mapping[str, Any]  # as `flags_<n>.json` records them
    is_resumed: bool

    @classmethod
    def of(cls, plan: TrialPlan) -> "TrialInfo":
        """Of a planned trial."""
        settings = plan.settings
        return cls(
            settings.experiment_name,
            settings.workload,
            settings.framework,
            plan.study,
            plan.trial,
            plan.folder,
            settings.definition.target,
            dict(plan.point or {}),
            settings.as_json(),
            is_resumed=next(plan.folder.glob("meta_data_*.json"), None) is not None,
        )

    @property
    def name(self) -> str:
        """In one line, such as `adamw, mnist_mini (jax), study 1, trial 2`."""
        return (
            f"{self.submission}, {self.workload} ({self.framework}), study {self.study}, "
            f"trial {self.trial}"
        )


class TrialObserver:
    """Is told how trials go, one after the other. Override what you need; all do nothing.

    Give objects of it to `algoperf.run(observers=...)`, or name a function that makes one with
    `--log-to MODULE:FUNCTION`. Only `on_start` may raise: an `AlgoPerfError` there stops the run
    before the trial has begun.
    """

    def on_start(self, trial: TrialInfo) -> None:
        """Called before the trial's process is started."""

    def on_heartbeat(self, sign: Sign) -> None:
        """Called about once a second while the trial runs."""

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Called after every evaluation. A resumed trial reports its earlier rows once more."""

    def on_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Called, at evaluations, for each set of values that the submission has logged."""

    def on_end(self, record: OutcomeRecord | None) -> None:
        """Called when the trial has ended; None: it did not begin, or Ctrl-C ended it."""


class Audience:
    """All observers of one trial; reads for them what the trial has logged."""

    def __init__(self, plan: TrialPlan, observers: Sequence[TrialObserver]) -> None:
        self.info = TrialInfo.of(plan)
        self._observers = list(observers)
        self._rows = _GrowingTable(self.info.folder / logs.EVALUATIONS_FILE)
        self._scalars = _GrowingTable(self.info.folder / logs.SCALARS_FILE)
        parts = len(list(self.info.folder.glob("meta_data_*.json")))
        # Until the trial has opened its log, the files are those of its earlier part.
        self._opened = self.info.folder / f"meta_data_{parts}.json"

    def start(self) -> None:
        """Tells them that the trial starts; passes on what is wrong with a logger."""
        begun: list[TrialObserver] = []
        try:
            for observer in self._observers:
                begun.append(observer)
                observer.on_start(self.info)
        except BaseException:
            self._observers = begun
            self.end(None)
            raise

    def heartbeat(self, sign: Sign) -> None:
        """Tells them what the trial's board says, and what was logged since the last call."""
        self._tell(lambda observer: observer.on_heartbeat(sign))
        if self._opened.exists():
            self._tell_rows()

    def end(self, record: OutcomeRecord | None) -> None:
        """Tells them the rest, and how the trial ended."""
        if record is not None:
            self._tell_rows()
        self._tell(lambda observer: observer.on_end(record))
        self._observers.clear()

    def _tell_rows(self) -> None:
        if not self._observers:
            return
        for cells in self._scalars.new_rows():
            step = int(cells.pop(logs.STEP, 0))
            self._tell(lambda o, c=cells, s=step: o.on_scalars(c, s))  # type: ignore[misc]
        for cells in self._rows.new_rows():
            if {logs.STEP, logs.SUBMISSION_SECONDS} <= cells.keys():
                row = EvaluationRow.from_json(cells)
                self._tell(lambda o, r=row: o.on_evaluation(r))  # type: ignore[misc]

    def _tell(self, what: Callable[[TrialObserver], None]) -> None:
        for observer in list(self._observers):
            try:
                what(observer)
            except Exception as error:
                self._observers.remove(observer)
                text = str(error) or type(error).__name__
                console.tell(
                    f"algoperf: warning: {type(observer).__name__} has failed and is told "
                    f"no more of this trial: {text}"
                )


class _GrowingTable:
    """A CSV file that is replaced as a whole when it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: object = None
        self._num_rows = 0

    def new_rows(self) -> list[dict[str, float]]:
        """The rows that have come since the last call; empty cells are left out."""
        try:
            state = self._path.stat()
            seen = (state.st_mtime_ns, state.st_size, state.st_ino)
            if seen == self._seen:
                return []
            with self._path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            new = [_numbers(row) for row in rows[self._num_rows :]]
        except (
            OSError,
            ValueError,
            TypeError,
            csv.Error,
        ):  # who reads logs will say so
            return []
        self._seen, self._num_rows = seen, len(rows)
        return new


def _numbers(row: Mapping[str, str | None]) -> dict[str, float]:
    """The cells of a row that are not empty. ValueError for one that is no number."""
    return {name: float(cell) for name, cell in row.items() if cell}


def replay(
    plan: TrialPlan, observers: Sequence[TrialObserver], record: OutcomeRecord | None
) -> None:
    """Tells observers of a trial that has ended: where no launcher could tell them before."""
    audience = Audience(plan, observers)
    try:
        audience.start()
        audience.end(record)
    except AlgoPerfError as error:
        console.tell(f"algoperf: warning: the trial could not be logged: {error}")
