"""Copies a trial's logs to TensorBoard's event files, without a thread.

tensorboardX's `SummaryWriter` starts a thread and sets environment variables, which a trial's
guards would take for acts of the submission; so its writer of records is used directly.
"""

import contextlib
import csv
import importlib.util
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from algoperf.errors import MissingDependency
from algoperf.logs import EVALUATIONS_FILE, SCALARS_FILE, STEP

FOLDER = "tensorboard"
_PACKAGE = "tensorboardX"


def check_installed() -> None:
    """Raises `MissingDependency` unless the package that writes event files is installed."""
    try:
        is_installed = importlib.util.find_spec(_PACKAGE) is not None
    except (ImportError, ValueError):
        is_installed = False
    if not is_installed:
        raise MissingDependency(
            f"--tensorboard needs the package {_PACKAGE}, which cannot be found. "
            "Run: pip install 'algoperf[report]'."
        )


class EventFiles:
    """The event files of one trial: all rows of its logs, each as scalars at its step."""

    def __init__(self, trial: Path) -> None:
        """Replaces what an earlier part of the trial has written: the logs have it all."""
        check_installed()
        self._trial = trial
        self._num_copied = {EVALUATIONS_FILE: 0, SCALARS_FILE: 0}
        folder = trial / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        with _unchanged_environment():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2

            self._new_event: Any = event_pb2.Event
            self._writer = EventsWriter(str(folder / "events"))

    def update(self) -> None:
        """Copies the rows that have come since the last call, and flushes."""
        for name, number in self._num_copied.items():
            rows = _rows(self._trial / name)
            for row in rows[number:]:
                self._add(row)
            self._num_copied[name] = len(rows)
        self._writer.flush()

    def close(self) -> None:
        """Copies what is left and closes the file."""
        self.update()
        self._writer.close()

    def _add(self, row: Mapping[str, str]) -> None:
        event = self._new_event(wall_time=time.time(), step=int(float(row[STEP])))
        for name, cell in row.items():
            value = _number(cell)
            if value is not None and name != STEP:
                event.summary.value.add(tag=name, simple_value=value)
        self._writer.write_event(event)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _number(cell: str) -> float | None:
    """The number in a cell, NaN and infinities included; None where it is empty."""
    with contextlib.suppress(ValueError):
        return float(cell) if cell else None
    return None


@contextlib.contextmanager
def _unchanged_environment() -> Iterator[None]:
    """Takes back variables that an import sets."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
