"""TensorBoard: event files in each trial's folder, written without a thread."""

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from typing import Any

from algoperf.evaluations import EvaluationRow
from algoperf.outcome import OutcomeRecord
from algoperf.runner.trial_observers import TrialInfo, TrialObserver

FOLDER = "tensorboard"
_VERSION = "brain.Event:2"


class TensorBoard(TrialObserver):
    """Writes `tensorboard/` in the trial's folder; a resumed trial writes it anew."""

    def __init__(self) -> None:
        self._trial: TrialInfo | None = None
        self._file: Any = None
        self._records: Any = None

    def on_start(self, trial: TrialInfo) -> None:
        """Takes note of the trial; its folder is made later, by the trial itself."""
        self._trial = trial

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Writes all of its columns."""
        cells = row.to_json()
        step = cells.pop("global_step")
        self.on_scalars(cells, step)

    def on_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Writes one event."""
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step)
        for name, value in scalars.items():
            event.summary.value.add(tag=name, simple_value=value)
        self._write(event)

    def on_end(self, record: OutcomeRecord | None) -> None:
        """Closes the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        self._trial = self._file = self._records = None

    def _write(self, event: Any) -> None:
        if self._file is None:
            self._open()
        self._records.write(event.SerializeToString())
        self._file.flush()

    def _open(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        assert self._trial is not None
        folder = self._trial.folder / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        name = f"events.out.tfevents.{time.time():.0f}.{os.getpid()}"
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        first = Event(wall_time=time.time(), file_version=_VERSION)
        self._records.write(first.SerializeToString())
