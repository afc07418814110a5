"""The folder of an experiment: this module writes it and reads it; runner and scoring share it.

Layout (the published one): `<submission>/study_<i>/<workload>_<framework>/trial_<k>/` with

- `eval_measurements.csv`: a row per evaluation, columns of `TIME_COLUMNS` and `<split>/<metric>`
- `measurements.csv`: training scalars that the submission logged
- `hparams.json`: the hyperparameter point
- `meta_data_<n>.json`, `flags_<n>.json`: hardware, versions, rules; settings (n: preemptions)
- `outcome.json`: how the trial ended and why, and where its wall time went

Every file is replaced as a whole, so a reader never sees half of one.
"""

import contextlib
import csv
import enum
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.columns import Columns
from algoperf.errors import BadLogs

EVALUATIONS_FILE = "eval_measurements.csv"
SCALARS_FILE = "measurements.csv"
HYPERPARAMETERS_FILE = "hparams.json"
OUTCOME_FILE = "outcome.json"

STEP = "global_step"
SUBMISSION_SECONDS = "accumulated_submission_time"
SUBMISSION_SECONDS_COPY = "score"  # the published name for the same seconds
TIME_COLUMNS = (
    STEP,
    SUBMISSION_SECONDS,
    SUBMISSION_SECONDS_COPY,
    "accumulated_eval_time",
    "accumulated_logging_time",
    "total_duration",
    "preemption_count",
)
_WORKLOAD_FOLDER = re.compile(r"(?P<workload>.+)_(?P<framework>[a-z]+)")
_STUDY_FOLDER = re.compile(r"study_(\d+)")
_TRIAL_FOLDER = re.compile(r"trial_(\d+)")
_META_FILE = re.compile(r"meta_data_(\d+)\.json")


class Outcome(enum.Enum):
    """How a trial ended."""

    REACHED = "reached"  # the targets that the ruleset asks for
    NOT_REACHED = "not reached"
    DIVERGED = "diverged"  # non-finite parameters
    INVALID = "invalid"  # broke a rule
    SUBMISSION_CRASHED = "crashed in the submission"
    INFRASTRUCTURE_CRASHED = "crashed in the infrastructure"
    PREEMPTED = "preempted"  # to be resumed


@dataclass(frozen=True)
class TrialId:
    """Which trial: unique within a set of results."""

    submission: str
    study: int
    workload: str
    framework: str
    trial: int

    def folder(self, experiments: Path) -> Path:
        """Where its logs lie under the folder that holds all submissions' folders."""
        return (
            experiments
            / self.submission
            / f"study_{self.study}"
            / f"{self.workload}_{self.framework}"
            / f"trial_{self.trial}"
        )


@dataclass(frozen=True)
class Trial:
    """One trial as its logs tell it."""

    id: TrialId
    folder: Path
    columns: Mapping[
        str, np.ndarray
    ]  # float64 [evaluations]; NaN where a cell is empty
    hyperparameters: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)  # {} in published logs
    outcome: Outcome | None = None  # None: not recorded, or still running
    reason: str = ""

    @property
    def num_evaluations(self) -> int:
        """Number of evaluations that were logged."""
        return len(self.columns[STEP]) if STEP in self.columns else 0

    def metric(self, name: str) -> np.ndarray:
        """Values of e.g. `validation/accuracy`, float64 [evaluations]; NaN if not logged."""
        if name in self.columns:
            return self.columns[name]
        return np.full(self.num_evaluations, math.nan)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces `path` as a whole: a reader sees the old content or the new."""
    data = content.encode() if isinstance(content, str) else content
    # A file has one writer, so a fixed name will do: a killed write leaves no heap behind.
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise BadLogs(
            f"Could not write {path}: {error.strerror}. What was there before is intact; "
            "free some space or choose another folder, then go on with --resume."
        ) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON atomically; NaN and infinities are kept as strings."""
    text = json.dumps(_strict(value), indent=2, default=str, allow_nan=False)
    write_atomically(path, text + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value


class TrialLog:
    """Writes the logs of one trial; also the `metrics_logger` that a submission sees."""

    def __init__(
        self, folder: Path, *, preemptions: int = 0, keep_steps: int = 0
    ) -> None:
        """`keep_steps`: rows up to this step are kept from an earlier part of the trial."""
        self.folder = folder
        self._preemptions = preemptions
        self._evaluations = self._kept(EVALUATIONS_FILE, keep_steps)
        self._scalars = self._kept(SCALARS_FILE, keep_steps)
        self._scalars_written = len(self._scalars)

    def _kept(self, name: str, keep_steps: int) -> list[dict[str, Any]]:
        path = self.folder / name
        if not keep_steps or not path.exists():
            return []
        try:
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            return [row for row in rows if float(row[STEP]) <= keep_steps]
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise BadLogs(
                f"{path} is damaged ({error}), so the trial cannot go on from it. Restore "
                "the file, or start the trial anew with --overwrite."
            ) from None

    def start(
        self,
        meta: Mapping[str, Any],
        flags: Mapping[str, Any],
        hyperparameters: Mapping[str, Any] | None,
    ) -> None:
        """Writes what is known before the first step, and drops rows that are run again."""
        self._rewrite(EVALUATIONS_FILE, self._evaluations)
        self._rewrite(SCALARS_FILE, self._scalars)
        write_json(self.folder / f"meta_data_{self._preemptions}.json", meta)
        write_json(self.folder / f"flags_{self._preemptions}.json", flags)
        write_json(self.folder / HYPERPARAMETERS_FILE, dict(hyperparameters or {}))

    def add_evaluation(self, row: Mapping[str, float]) -> None:
        """Appends one evaluation; `row` has the TIME_COLUMNS and the metrics."""
        self._evaluations.append({"preemption_count": self._preemptions, **row})
        self._write(EVALUATIONS_FILE, self._evaluations)
        self.flush_scalars()

    def append_scalar_metrics(
        self, metrics: Mapping[str, float], global_step: int
    ) -> None:
        """Keeps training scalars; they are written at the next evaluation."""
        scalars = {name: float(value) for name, value in metrics.items()}
        self._scalars.append({**scalars, STEP: global_step})

    def flush_scalars(self) -> None:
        """Writes training scalars that are not on disk yet."""
        if len(self._scalars) > self._scalars_written:
            self._write(SCALARS_FILE, self._scalars)
            self._scalars_written = len(self._scalars)

    def finish(
        self,
        outcome: Outcome,
        reason: str,
        accounting: Mapping[str, float],
        **facts: Any,
    ) -> None:
        """Records how the trial ended, where its wall time went (seconds), and more."""
        self.flush_scalars()
        write_outcome(self.folder, outcome, reason, accounting, **facts)

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


def write_outcome(
    folder: Path,
    outcome: Outcome,
    reason: str,
    accounting: Mapping[str, float] | None = None,
    **facts: Any,
) -> None:
    """Records how a trial ended; also used from outside when its process died."""
    seconds = dict(accounting or {})
    content = {"outcome": outcome.value, "reason": reason, "seconds": seconds, **facts}
    write_json(folder / OUTCOME_FILE, content)


def read_outcome(folder: Path) -> tuple[Outcome | None, str]:
    """How a trial ended, and why; None while it runs."""
    path = folder / OUTCOME_FILE
    if not path.exists():
        return None, ""
    content = _read_json(path)
    try:
        return Outcome(content["outcome"]), str(content.get("reason", ""))
    except (KeyError, ValueError):
        known = ", ".join(outcome.value for outcome in Outcome)
        raise BadLogs(
            f"{path}: the field 'outcome' is {content.get('outcome')!r}; it must be one "
            f"of: {known}."
        ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadLogs(
            f"{path} is not readable JSON ({error}). Restore or remove it."
        ) from None
    if not isinstance(content, dict):
        raise BadLogs(
            f"{path} must hold a JSON object, not a {type(content).__name__}."
        )
    return content


def _read_evaluations(path: str) -> Columns:
    """The evaluations in the order of their steps, checked for what no run can produce."""
    columns = Columns(path)
    for column in (STEP, SUBMISSION_SECONDS):
        if column not in columns:
            raise BadLogs(
                f"{path} has no column {column!r}; it has: {', '.join(columns)}."
            )
        _check_counter(columns, column)
    columns.sort_rows(STEP, SUBMISSION_SECONDS)
    seconds = columns[SUBMISSION_SECONDS]
    falls = np.flatnonzero(seconds[1:] < seconds[:-1])
    if len(falls):
        row = int(falls[0]) + 1
        raise columns.error(
            row,
            SUBMISSION_SECONDS,
            f"{seconds[row]} at step {columns[STEP][row]:.0f}, after {seconds[row - 1]} at "
            f"step {columns[STEP][row - 1]:.0f}: time runs backwards. Restore the file; if "
            "the run was resumed, remove the rows that were run again.",
        )
    _check_copy(columns)
    columns.forget_cells()
    return columns


def _check_counter(columns: Columns, column: str) -> None:
    values = columns[column]
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        row = int(wrong[0])
        raise columns.error(
            row,
            column,
            f"{values[row]} is not a finite number of at least 0. Restore the file.",
        )


def _check_copy(columns: Columns) -> None:
    """The seconds stand twice in a row; where the two differ, one is damaged."""
    copy, original = SUBMISSION_SECONDS_COPY, SUBMISSION_SECONDS
    if copy not in columns or columns.same_text(copy, original):
        return
    different = np.flatnonzero(columns[copy] != columns[original])
    if len(different):
        row = int(different[0])
        raise columns.error(
            row,
            copy,
            f"{columns[copy][row]} must equal {original!r}, which is "
            f"{columns[original][row]}. One of the two is damaged; restore the file.",
        )


def _last_meta(names: set[str]) -> str | None:
    numbered = {int(m[1]): name for name in names if (m := _META_FILE.fullmatch(name))}
    return numbered[max(numbered)] if numbered else None


def read_trial(identity: TrialId, folder: Path) -> Trial:
    """One trial; a trial that ended before its first evaluation has no columns."""
    try:
        names = set(os.listdir(folder))
    except OSError as error:
        raise BadLogs(f"{folder} cannot be read: {error.strerror}.") from None
    meta = _last_meta(names)
    has_evaluations = EVALUATIONS_FILE in names
    has_point = HYPERPARAMETERS_FILE in names
    outcome, reason = read_outcome(folder) if OUTCOME_FILE in names else (None, "")
    evaluations = os.path.join(folder, EVALUATIONS_FILE)
    return Trial(
        identity,
        folder,
        columns=_read_evaluations(evaluations) if has_evaluations else {},
        hyperparameters=_read_json(folder / HYPERPARAMETERS_FILE)
        if has_point
        else None,
        meta=_read_json(folder / meta) if meta else {},
        outcome=outcome,
        reason=reason,
    )


def trial_folders(directory: Path) -> Iterator[tuple[TrialId, Path]]:
    """Every trial folder below `directory`, in sorted order, whatever lies between."""
    yield from _trials_below(os.fspath(directory))


def _trials_below(parent: str) -> Iterator[tuple[TrialId, Path]]:
    try:
        with os.scandir(parent) as entries:
            names = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return  # removed meanwhile, as with --overwrite under a live view
    except OSError as error:
        raise BadLogs(f"{parent} cannot be read: {error.strerror}.") from None
    above, folder = os.path.split(parent)
    match = _WORKLOAD_FOLDER.fullmatch(folder)
    study = _STUDY_FOLDER.fullmatch(os.path.basename(above))
    submission = os.path.basename(os.path.dirname(above) if study else above)
    for name in names:
        path = os.path.join(parent, name)
        trial = _TRIAL_FOLDER.fullmatch(name) if match else None
        if not match or not trial:
            yield from _trials_below(path)
            continue
        identity = TrialId(
            submission,
            int(study[1]) if study else 1,
            match["workload"],
            match["framework"],
            int(trial[1]),
        )
        yield identity, Path(path)


def read(directory: Path) -> list[Trial]:
    """All trials below a folder of submissions (or below one submission's folder)."""
    directory = Path(directory).resolve()
    if not directory.is_dir():
        raise BadLogs(
            f"{directory} is not a folder. Give the folder that holds the logs."
        )
    trials: dict[TrialId, Trial] = {}
    for identity, folder in trial_folders(directory):
        if identity in trials:
            raise BadLogs(
                f"{folder} and {trials[identity].folder} are both trial {identity.trial} of "
                f"{identity.submission}, study {identity.study}, {identity.workload}. "
                "Move one of them away."
            )
        trials[identity] = read_trial(identity, folder)
    if not trials:
        raise BadLogs(
            f"No trials under {directory}. Expected folders like "
            "<submission>/study_1/<workload>_<framework>/trial_1/."
        )
    return [trials[key] for key in sorted(trials, key=_sort_key)]


def _sort_key(identity: TrialId) -> tuple[str, str, str, int, int]:
    return (
        identity.submission,
        identity.workload,
        identity.framework,
        identity.study,
        identity.trial,
    )
