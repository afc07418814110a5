"""The table of a trial's evaluations: names of its columns, and what no run can produce."""

import numpy as np

from algoperf.columns import Columns
from algoperf.errors import BadLogs

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
# Counters that cost is computed from; scoring never needs them.
_OTHER_SECONDS = TIME_COLUMNS[3:6]


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
