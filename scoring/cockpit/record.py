"""Reads everything that the screens show about one trial from its folder."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf import instrument_logs, logs
from algoperf.errors import BadLogs
from algoperf.files import read_regular
from algoperf.instrument_logs import Measured
from algoperf.logs import STEP, Trial
from algoperf.paths import shown

_SMOOTHING = 0.2  # share of the newest value in a moving average
_RECENT = 0.1  # share of the values that count as the latest


@dataclass(frozen=True)
class Series:
    """Values by step; `steps` int64, `values` float64, both [n]."""

    steps: np.ndarray
    values: np.ndarray

    def __bool__(self) -> bool:
        return bool(np.isfinite(self.values).any())

    def average(self) -> np.ndarray:
        """The moving average y_t = 0.2 x_t + 0.8 y_{t-1}; non-finite values are skipped."""
        smoothed, last = [], math.nan
        for value in self.values.tolist():
            if math.isfinite(value):
                is_first = math.isnan(last)
                last = value if is_first else last + _SMOOTHING * (value - last)
            smoothed.append(last)
        return np.asarray(smoothed, np.float64)

    def finite(self) -> np.ndarray:
        """The finite values."""
        kept: np.ndarray = self.values[np.isfinite(self.values)]
        return kept

    def recent(self) -> np.ndarray:
        """The last tenth of the finite values, but at least one value."""
        values = self.finite()
        return values[len(values) - max(1, round(_RECENT * len(values))) :]


@dataclass(frozen=True)
class Record:
    """One trial and its instruments."""

    title: str
    folder: Path
    measured: Measured
    trial: Trial
    scalars: Mapping[str, Series]  # that the submission logged
    is_running: bool

    def series(self, name: str) -> Series:
        """A quantity over the steps; empty if it was not measured."""
        return Series(*self.measured.series(name))

    def evaluated(self, split: str) -> Series:
        """The target metric on a split, at each evaluation."""
        values = self.trial.metric(f"{split}/{self.metric}")
        steps = self.trial.columns.get(STEP, np.zeros(0))
        return Series(np.asarray(steps, np.float64), values)

    @property
    def metric(self) -> str:
        """The name of the target metric."""
        target = self.trial.meta.target
        return "metric" if target is None else target.metric

    @property
    def rate(self) -> Series:
        """The learning rate, if the submission logged it."""
        for name in ("learning_rate", "lr"):
            if name in self.scalars:
                return self.scalars[name]
        return Series(np.zeros(0, np.int64), np.zeros(0))


def find(directory: Path) -> list[Path]:
    """The folders of all trials with instruments in a folder of logs, or the folder itself."""
    logs.check_folder(directory)
    if instrument_logs.has_instruments(directory):
        return [directory]
    found = [folder for _, folder in logs.trial_folders(directory)]
    return [folder for folder in found if instrument_logs.has_instruments(folder)]


def choose(directory: Path) -> Path:
    """The only trial with instruments in a folder. BadLogs if there is none, or more than one."""
    found = find(directory)
    if not found:
        raise BadLogs(
            f"No trial under {shown(directory)} has instruments. Run one with "
            "`algoperf run … --cockpit economy`."
        )
    if len(found) > 1:
        listed = "\n  ".join(str(shown(folder)) for folder in found[:10])
        raise BadLogs(
            f"{len(found)} trials under {shown(directory)} have instruments. Give the folder "
            f"of one of them:\n  {listed}"
        )
    return found[0]


def load(folder: Path) -> Record:
    """Loads the trial in that folder, which may still be running."""
    identity = next(
        (
            i
            for i, path in logs.trial_folders(folder.parent)
            if path.name == folder.name
        ),
        logs.TrialId(folder.parent.name, 1, "", "", 1),
    )
    trial = logs.read_trial(identity, folder)
    name = trial.meta.workload or identity.workload
    title = f"{identity.submission} on {name}, study {identity.study}, trial {identity.trial}"
    return Record(
        title,
        folder,
        instrument_logs.read(folder),
        trial,
        _scalars(folder),
        is_running=trial.outcome is None,
    )


def _scalars(folder: Path) -> dict[str, Series]:
    path = folder / logs.SCALARS_FILE
    if not path.exists():
        return {}
    rows = list(csv.DictReader(io.StringIO(read_regular(path).decode(), newline="")))
    names = {name for row in rows for name in row if name and name != STEP}
    found = {}
    for name in names:
        pairs = [(row[STEP], row[name]) for row in rows if _is_number(row.get(name))]
        steps, values = zip(*pairs, strict=True) if pairs else ((), ())
        found[name] = Series(
            np.asarray(steps, np.float64), np.asarray(values, np.float64)
        )
    return found


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True
