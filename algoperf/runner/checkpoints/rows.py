"""The rows of the evaluations in a checkpoint, and the file of a trial that is resumed.

Call `restore` before the trial's log is opened: it reads that file.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from algoperf.errors import BadLogs
from algoperf.logs import EVALUATIONS_FILE, STEP, write_atomically
from algoperf.runner.checkpoints.files import Checkpoint

Row = Mapping[str, str]  # without empty cells


def table_of(folder: Path) -> dict[str, Any]:
    """Columns and rows of a trial's evaluations (JSON), as text, so that no digit is lost."""
    columns, rows = _read(folder / EVALUATIONS_FILE)
    return {
        "columns": columns,
        "rows": [[row.get(name, "") for name in columns] for row in rows],
    }


def restore(folder: Path, saved: Checkpoint) -> int:
    """Puts rows back that the file lacks and the checkpoint has; returns how many.

    Rows after the checkpoint's step do not matter: they are run again. `BadLogs`, with file
    and row, where a row is another than the checkpoint's, stands twice or in another place.
    """
    table = saved.rest.get("rows")
    if not table:
        return 0
    path, columns = folder / EVALUATIONS_FILE, table["columns"]
    expected = [
        {k: v for k, v in zip(columns, cells, strict=True) if v}
        for cells in table["rows"]
    ]
    found = [
        (number, row)
        for number, row in enumerate(_read(path)[1], start=1)
        if _step(row, path, number) <= saved.step
    ]
    _check_rows(found, expected, path)
    num_missing = len(expected) - len(found)
    if num_missing:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(expected)
        write_atomically(path, text.getvalue())
    return num_missing


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    if not path.exists():
        return [], []
    try:
        if not path.is_file():
            raise ValueError("it is not a regular file")
        with path.open(newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = list(reader)
            columns = list(reader.fieldnames or [])
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("a row has more or fewer cells than the header")
        if len(set(columns)) < len(columns):
            raise ValueError("a column stands twice")
    except (OSError, ValueError, csv.Error) as error:
        raise BadLogs(f"{path} is damaged ({error}). {_REMEDY}") from None
    return columns, [{k: v for k, v in row.items() if v} for row in rows]


_REMEDY = "Restore the file, or remove it: --resume takes its rows from the checkpoint."


def _step(row: Row, path: Path, number: int) -> float:
    try:
        return float(row.get(STEP, ""))
    except ValueError:
        raise BadLogs(
            f"{path}, row {number}: {STEP} is {row.get(STEP, '')!r}, which is no number. "
            f"{_REMEDY}"
        ) from None


def _check_rows(
    found: Sequence[tuple[int, Row]], expected: Sequence[Row], path: Path
) -> None:
    """Whether all rows are the checkpoint's, in its order."""
    by_step = {row[STEP]: index for index, row in enumerate(expected)}
    last = -1
    for number, row in found:
        where = f"{path}, row {number} (step {row[STEP]})"
        index = by_step.get(row[STEP])
        if index is None:
            raise BadLogs(f"{where}: the checkpoint has no such evaluation. {_REMEDY}")
        changed = [
            name
            for name in sorted({*row, *expected[index]})
            if row.get(name) != expected[index].get(name)
        ]
        if changed:
            name = changed[0]
            raise BadLogs(
                f"{where}: {name} is {row.get(name, '')!r}, the checkpoint has "
                f"{expected[index].get(name, '')!r}. {_REMEDY}"
            )
        if index <= last:
            what = "stands twice" if index == last else "stands in another place"
            raise BadLogs(f"{where} {what}. {_REMEDY}")
        last = index
