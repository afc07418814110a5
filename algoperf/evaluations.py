"""The table of a trial's evaluations: its rows, its columns, and what no run can produce."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from algoperf.columns import Columns
from algoperf.errors import BadLogs

STEP = "global_step"
SUBMISSION_SECONDS = "accumulated_submission_time"
SUBMISSION_SECONDS_COPY = "score"  # the published name for the same seconds
EVALUATION_SECONDS = "accumulated_eval_time"
LOGGING_SECONDS = "accumulated_logging_time"
CHECKPOINT_SECONDS = "accumulated_checkpoint_time"
TOTAL_SECONDS = "total_duration"
TIME_COLUMNS = (
    STEP,
    SUBMISSION_SECONDS,
    SUBMISSION_SECONDS_COPY,
    EVALUATION_SECONDS,
    LOGGING_SECONDS,
    TOTAL_SECONDS,
    "preemption_count",
)
# Counters that cost is computed from; scoring never needs them.
_OTHER_SECONDS = TIME_COLUMNS[3:6]


@dataclass(frozen=True)
class EvaluationRow:
    """One evaluation of a trial; all seconds are accumulated since its start."""

    step: int  # steps done
    submission_seconds: float
    evaluation_seconds: float  # this evaluation included
    logging_seconds: float  # before this row
    checkpoint_seconds: float  # before this row
    total_seconds: float  # wall time, set-up included
    metrics: Mapping[str, float]  # by name, such as "validation/accuracy"
    memory: Mapping[str, float] = field(default_factory=dict)  # bytes, by column

    def to_json(self) -> dict[str, Any]:
        """Cells by column."""
        return {
            STEP: self.step,
            SUBMISSION_SECONDS: self.submission_seconds,
            SUBMISSION_SECONDS_COPY: self.submission_seconds,
            EVALUATION_SECONDS: self.evaluation_seconds,
            LOGGING_SECONDS: self.logging_seconds,
            CHECKPOINT_SECONDS: self.checkpoint_seconds,
            TOTAL_SECONDS: self.total_seconds,
            **self.memory,
            **self.metrics,
        }

    @classmethod
    def from_json(cls, cells: Mapping[str, Any]) -> "EvaluationRow":
        """The inverse of `to_json`; cells may be text, as in a file, and some may be missing.

        ValueError for a cell that is no number.
        """
        numbers = {name: float(cell) for name, cell in cells.items() if cell != ""}
        seconds = numbers.get
        return cls(
            int(numbers[STEP]),
            numbers[SUBMISSION_SECONDS],
            seconds(EVALUATION_SECONDS, 0.0),
            seconds(LOGGING_SECONDS, 0.0),
            seconds(CHECKPOINT_SECONDS, 0.0),
            seconds(TOTAL_SECONDS, 0.0),
            metrics={k: v for k, v in numbers.items() if "/" in k},
            memory={k: v for k, v in numbers.items() if k.endswith("_bytes")},
        )


def read_evaluations(path: str) -> Columns:
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
    if columns.ends_oddly:  # cost is computed from the last row
        for column in (name for name in _OTHER_SECONDS if name in columns):
            _check_seconds(columns, column)
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


def _check_seconds(columns: Columns, column: str) -> None:
    """Like a counter, but it may be missing from a row."""
    values = columns[column]
    wrong = np.flatnonzero((values < 0) | np.isinf(values))
    if len(wrong):
        row = int(wrong[0])
        raise columns.error(
            row, column, f"{values[row]} is no duration. Restore the file."
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
