"""The folder of an experiment: this module writes it and reads it; runner and scoring share it.

Layout (the published one): `<submission>/study_<i>/<workload>_<framework>/trial_<k>/` with

- `eval_measurements.csv`: a row per evaluation, columns of `TIME_COLUMNS` and `<split>/<metric>`
- `measurements.csv`: training scalars that the submission logged
- `hparams.json`: the hyperparameter point
- `meta_data_<n>.json`, `flags_<n>.json`: hardware, versions, rules; settings (n: preemptions)
- `outcome.json`: how the trial ended and why, and where its wall time went

Every file is replaced as a whole, so a reader never sees half of one.
"""

import csv
import io
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.errors import BadLogs
from algoperf.evaluations import (
    STEP,
    SUBMISSION_SECONDS,
    TIME_COLUMNS,
    EvaluationRow,
    read_evaluations,
)
from algoperf.files import read_regular, write_atomically, write_json
from algoperf.log_folders import TrialId, find_trials
from algoperf.outcome import OUTCOME_FILE, Outcome, OutcomeRecord
from algoperf.paths import shown
from algoperf.trial_meta import TrialMeta, utc_now
from algoperf.verification_record import VERIFICATION_FILE, Verification

__all__ = [
    "OUTCOME_FILE",
    "STEP",
    "SUBMISSION_SECONDS",
    "TIME_COLUMNS",
    "EvaluationRow",
    "Outcome",
    "OutcomeRecord",
    "Scan",
    "Trial",
    "TrialId",
    "TrialLog",
    "check_folder",
    "read",
    "read_outcome",
    "read_trial",
    "scan",
    "trial_folders",
    "write_atomically",
    "write_json",
    "write_outcome",
]

EVALUATIONS_FILE = "eval_measurements.csv"
SCALARS_FILE = "measurements.csv"
HYPERPARAMETERS_FILE = "hparams.json"

_NUMBERED_FILE = re.compile(r"(meta_data|flags)_([0-9]+)\.json")


@dataclass(frozen=True)
class Trial:
    """One trial as its logs tell it."""

    id: TrialId
    folder: Path
    columns: Mapping[
        str, np.ndarray
    ]  # float64 [evaluations]; NaN where a cell is empty
    hyperparameters: Mapping[str, Any] | None = None
    meta: TrialMeta = field(default_factory=TrialMeta)  # of its last part
    ended: OutcomeRecord | None = None  # None: not recorded, or still running
    flags: Mapping[str, Any] = field(default_factory=dict)  # of its last part
    part: int = 0  # how often it had been interrupted
    flags_part: int = 0
    verification: Verification | None = None  # of these very rows; None: not verified

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None: not recorded, or still running."""
        return self.ended.outcome if self.ended else None

    @property
    def reason(self) -> str:
        """Why it ended so; empty if not recorded."""
        return self.ended.reason if self.ended else ""

    @property
    def shares(self) -> Mapping[str, float]:
        """Of the submission's time waiting for data (`data_wait`) and others, if logged."""
        return self.ended.shares if self.ended else {}

    @property
    def evaluations_path(self) -> Path:
        """Where its evaluations are logged."""
        return self.folder / EVALUATIONS_FILE

    @property
    def meta_path(self) -> Path:
        """Where `meta` comes from."""
        return self.folder / f"meta_data_{self.part}.json"

    @property
    def flags_path(self) -> Path:
        """Where `flags` come from."""
        return self.folder / f"flags_{self.flags_part}.json"

    @property
    def is_unfinished(self) -> bool:
        """Whether our runner started it without recording its end; published logs never do."""
        return self.ended is None and self.meta.is_own

    @property
    def counts(self) -> bool:
        """Whether it may reach targets: it broke no rule, and is not still running."""
        return self.outcome is not Outcome.INVALID and not self.is_unfinished

    @property
    def claims_target(self) -> bool:
        """Whether its own record says that it reached its validation target."""
        target = self.meta.target
        if target is None or not self.counts:
            return False
        values = self.metric(f"validation/{target.metric}")
        return any(target.is_better(float(v), target.validation) for v in values)

    @property
    def num_evaluations(self) -> int:
        """Number of evaluations that were logged."""
        return len(self.columns[STEP]) if STEP in self.columns else 0

    def metric(self, name: str) -> np.ndarray:
        """Values of e.g. `validation/accuracy`, float64 [evaluations]; NaN if not logged."""
        if name in self.columns:
            return self.columns[name]
        return np.full(self.num_evaluations, math.nan)


class TrialLog:
    """Writes the logs of one trial; also the `metrics_logger` that a submission sees."""

    def __init__(
        self,
        folder: Path,
        *,
        preemptions: int = 0,
        keep_steps: int = 0,
        writes_at_end: bool = False,
    ) -> None:
        """`keep_steps`: rows up to this step are kept from an earlier part of the trial.

        `writes_at_end`: evaluations are written once, when the trial finishes.
        """
        self.folder = folder
        self._writes_at_end = writes_at_end
        self._preemptions = preemptions
        self._evaluations = self._kept(EVALUATIONS_FILE, keep_steps)
        self._scalars = self._kept(SCALARS_FILE, keep_steps)
        self._scalars_written = len(self._scalars)

    def _kept(self, name: str, keep_steps: int) -> list[dict[str, Any]]:
        path = self.folder / name
        if not keep_steps or not path.exists():
            return []
        data = read_regular(path)
        try:
            rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
            if any(None in row for row in rows):
                raise ValueError("a row has more cells than the header")
            return [row for row in rows if float(row[STEP]) <= keep_steps]
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise BadLogs(
                f"{path} is damaged ({error}), so the trial cannot go on from it. Restore "
                "the file, or start the trial anew with --overwrite."
            ) from None

    def start(
        self,
        meta: TrialMeta,
        flags: Mapping[str, Any],
        hyperparameters: Mapping[str, Any] | None,
    ) -> None:
        """Writes what is known before the first step, and drops rows that are run again."""
        self._rewrite(EVALUATIONS_FILE, self._evaluations)
        self._rewrite(SCALARS_FILE, self._scalars)
        write_json(self.folder / f"meta_data_{self._preemptions}.json", meta.to_json())
        write_json(self.folder / f"flags_{self._preemptions}.json", flags)
        write_json(self.folder / HYPERPARAMETERS_FILE, dict(hyperparameters or {}))

    def add_evaluation(self, row: EvaluationRow) -> None:
        """Appends one evaluation."""
        cells = {"preemption_count": self._preemptions, **row.to_json()}
        self._evaluations.append(cells)
        if not self._writes_at_end:
            self._write(EVALUATIONS_FILE, self._evaluations)
            self.flush_scalars()

    def append_scalar_metrics(
        self, metrics: Mapping[str, float], global_step: int
    ) -> None:
        """Keeps training scalars; they are written at the next evaluation."""
        scalars = {_column(name): float(value) for name, value in metrics.items()}
        self._scalars.append({**scalars, STEP: global_step})

    def flush_scalars(self) -> None:
        """Writes training scalars that are not on disk yet."""
        if len(self._scalars) > self._scalars_written:
            self._write(SCALARS_FILE, self._scalars)
            self._scalars_written = len(self._scalars)

    def finish(self, record: OutcomeRecord) -> None:
        """Records how the trial ended."""
        if self._writes_at_end and self._evaluations:
            self._write(EVALUATIONS_FILE, self._evaluations)
        self.flush_scalars()
        write_outcome(self.folder, record)

    def _rewrite(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._write(name, rows)
        else:
            (self.folder / name).unlink(missing_ok=True)

    def _write(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        names = dict.fromkeys(key for row in rows for key in row)
        first = [key for key in TIME_COLUMNS if key in names]
        columns = first + sorted(set(names) - set(first))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / name, text.getvalue())


_MAX_COLUMN_CHARACTERS = 200


def _column(name: object) -> str:
    """A name that a submission gave, as one that any file can hold."""
    text = str(name).encode("utf-8", "backslashreplace").decode()
    if len(text) > _MAX_COLUMN_CHARACTERS:
        raise ValueError(
            f"the name of a scalar has {len(text)} characters; it may have at most "
            f"{_MAX_COLUMN_CHARACTERS}."
        )
    return text


def write_outcome(folder: Path, record: OutcomeRecord) -> None:
    """Records how a trial ended, and when; also used from outside when its process died."""
    record = replace(record, ended=record.ended or utc_now())
    write_json(folder / OUTCOME_FILE, record.to_json())


def read_outcome(folder: Path) -> OutcomeRecord | None:
    """How a trial ended; None while it runs."""
    path = folder / OUTCOME_FILE
    if not os.path.lexists(path):
        return None
    return OutcomeRecord.from_json(_read_json(path), str(path))


def _read_json(path: Path) -> dict[str, Any]:
    data = read_regular(path)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadLogs(
            f"{path} is not readable JSON ({error}). Restore or remove it."
        ) from None
    if not isinstance(content, dict):
        raise BadLogs(
            f"{path} must hold a JSON object, not a {type(content).__name__}."
        )
    return content


def _newest(names: Iterable[str], kind: str) -> int | None:
    """The highest number among files `<kind>_<n>.json`; None where there is none."""
    matches = (_NUMBERED_FILE.fullmatch(name) for name in names)
    return max((int(m[2]) for m in matches if m and m[1] == kind), default=None)


def read_trial(identity: TrialId, folder: Path) -> Trial:
    """One trial; a trial that ended before its first evaluation has no columns."""
    try:
        names = set(os.listdir(folder))
    except OSError as error:
        raise BadLogs(f"{folder} cannot be read: {error.strerror}.") from None

    def content(name: str) -> dict[str, Any] | None:
        return _read_json(folder / name) if name in names else None

    part, flags = _newest(names, "meta_data"), _newest(names, "flags")
    evaluations = os.path.join(folder, EVALUATIONS_FILE)
    return Trial(
        identity,
        folder,
        columns=read_evaluations(evaluations) if EVALUATIONS_FILE in names else {},
        hyperparameters=content(HYPERPARAMETERS_FILE),
        meta=TrialMeta.from_json(
            content(f"meta_data_{part}.json") or {}, f"{folder}/meta_data_{part}.json"
        ),
        ended=read_outcome(folder) if OUTCOME_FILE in names else None,
        flags=content(f"flags_{flags}.json") or {},
        part=part or 0,
        flags_part=flags or 0,
        verification=_verification(content(VERIFICATION_FILE), evaluations),
    )


def _verification(content: Mapping[str, Any] | None, rows: str) -> Verification | None:
    """The record, where it is one and no row was changed since."""
    found = None if content is None else Verification.from_json(content)
    return found if found is not None and found.is_of(Path(rows)) else None


def trial_folders(directory: Path) -> list[tuple[TrialId, Path]]:
    """Every trial folder below `directory`, in sorted order."""
    return find_trials(directory).trials


@dataclass(frozen=True)
class Scan:
    """All trials below a folder, and the folders that were passed over, each with the reason."""

    trials: list[Trial]
    left_out: tuple[str, ...] = ()


def scan(directory: Path) -> Scan:
    """All trials below a folder of submissions (or below one submission's folder).

    BadLogs names the folder or file that cannot be read.
    """
    check_folder(directory)
    found = find_trials(directory)
    trials: dict[TrialId, Trial] = {}
    for identity, folder in found.trials:
        if identity in trials:
            raise BadLogs(
                f"{folder} and {trials[identity].folder} are both trial {identity.trial} of "
                f"{identity.submission}, study {identity.study}, {identity.workload}. "
                "Move one of them away."
            )
        trials[identity] = read_trial(identity, folder)
    if not trials:
        passed_over = "; ".join(found.left_out[:3])
        raise BadLogs(
            f"No trials under {directory}. Expected folders like "
            "<submission>/study_1/<workload>_<framework>/trial_1/."
            + (f" Passed over: {passed_over}." if passed_over else "")
        )
    ordered = [trials[key] for key in sorted(trials, key=_sort_key)]
    return Scan(ordered, tuple(found.left_out))


def check_folder(path: Path) -> None:
    """BadLogs if that is no folder of logs that can be looked into."""
    remedy = "Give the folder that holds the logs"
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise BadLogs(f"{shown(path)} is not a folder. {remedy}.") from None
    except OSError as error:  # a loop of links, or a name that is too long
        raise BadLogs(f"{shown(path)}: {error.strerror}. {remedy}.") from None
    if not stat.S_ISDIR(mode):
        raise BadLogs(
            f"{shown(path)} is a file, not a folder. {remedy}; unpack an archive first."
        )


def read(directory: Path) -> list[Trial]:
    """The trials of `scan`, for those who do not mind what was passed over."""
    return scan(directory).trials


def _sort_key(identity: TrialId) -> tuple[str, str, str, int, int]:
    return (
        identity.submission,
        identity.workload,
        identity.framework,
        identity.study,
        identity.trial,
    )
