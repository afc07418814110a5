"""A CSV file of numbers, read column by column when asked for.

Scoring needs three of about fifteen columns, so only the places of the separators are found
for the whole file, and cells become numbers one column at a time.
"""

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from algoperf.errors import BadLogs

_COMMA, _NEWLINE = b",\n"


class Columns(Mapping[str, np.ndarray]):
    """Columns by name, float64 [rows]; NaN where a cell is empty."""

    def __init__(self, path: Path) -> None:
        """Reads the file and checks its shape; BadLogs names the line that is wrong."""
        self.path = path
        self._data = _plain_bytes(path)
        header, _, _ = self._data.partition(b"\n")
        self._header = _header(path, header)
        self._index = {name: i for i, name in enumerate(self._header)}
        # int [rows, columns]: where each cell ends; row 0 is the header
        self._ends = self._cell_ends()
        self._order: np.ndarray | None = None
        self._parsed: dict[str, np.ndarray] = {}

    def __getitem__(self, column: str) -> np.ndarray:
        if column not in self._parsed:
            values = self._numbers(column)
            ordered = values if self._order is None else values[self._order]
            ordered.setflags(write=False)
            self._parsed[column] = ordered
        return self._parsed[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)

    def __contains__(self, column: object) -> bool:
        return column in self._index

    def cells(self, column: str) -> list[bytes]:
        """The cells of a column as they stand in the file, in the file's order."""
        index = self._index[column]
        ends = self._ends[1:, index].tolist()
        before = self._ends[1:, index - 1] if index else self._ends[:-1, -1]
        data = self._data
        return [data[a + 1 : b] for a, b in zip(before.tolist(), ends, strict=True)]

    def sort_rows(self, *keys: str) -> None:
        """Puts the rows of all columns in ascending order of `keys`, the first one first."""
        order = np.lexsort([self[key] for key in reversed(keys)])
        if (order[1:] > order[:-1]).all():
            return
        self._order = order if self._order is None else self._order[order]
        self._parsed = {name: values[order] for name, values in self._parsed.items()}

    def error(self, row: int, column: str, what: str) -> BadLogs:
        """An error about the cell in `row` (counted as in the columns) of `column`."""
        original = row if self._order is None else int(self._order[row])
        return BadLogs(f"{self.path}, line {original + 2}, column {column!r}: {what}")

    def _cell_ends(self) -> np.ndarray:
        characters = np.frombuffer(self._data, np.uint8)
        newlines = characters == _NEWLINE
        ends = np.flatnonzero(newlines | (characters == _COMMA)).astype(np.int32)
        width = len(self._header)
        if len(ends) % width == 0:
            grid = ends.reshape(-1, width)
            num_newlines = np.count_nonzero(newlines)
            if num_newlines == len(grid) and newlines[grid[:, -1]].all():
                return grid
        for number, line in enumerate(self._data.split(b"\n"), start=1):
            if line.count(b",") + 1 != width:
                raise BadLogs(
                    f"{self.path}, line {number} has {line.count(b',') + 1} cells; the header "
                    f"has {width}. The file is truncated or mixed; restore it."
                )
        raise BadLogs(f"{self.path} is not a table of {width} columns; restore it.")

    def _numbers(self, column: str) -> np.ndarray:
        cells = self.cells(column)
        try:
            # Python reads "7_208" as a number; in a log it is a damaged one.
            if b"_" in b"".join(cells):
                raise ValueError
            if b"" not in cells:
                return np.array(list(map(float, cells)))
            return np.array([float(cell) if cell else math.nan for cell in cells])
        except ValueError:
            row = next(
                i for i, cell in enumerate(cells) if cell and not _is_number(cell)
            )
            text = cells[row].decode(errors="replace")
            raise BadLogs(
                f"{self.path}, line {row + 2}, column {column!r}: {text!r} is not a number. "
                "Restore the file, or remove the trial."
            ) from None


def _is_number(cell: bytes) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return b"_" not in cell


def _plain_bytes(path: Path) -> bytes:
    """The file with plain line ends and no quotes."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadLogs(f"{path} cannot be read: {error.strerror}.") from None
    if not data.strip():
        raise BadLogs(
            f"{path} is empty; it must have a header row. Remove the trial or the file."
        )
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    if not data.endswith(b"\n"):
        last = data.count(b"\n") + 1
        raise BadLogs(
            f"{path}, line {last} has no line end: the file is truncated. Restore it."
        )
    data = data.rstrip(b"\n") + b"\n"
    return _unquoted(path, data) if b'"' in data else data


def _unquoted(path: Path, data: bytes) -> bytes:
    try:
        rows = list(csv.reader(data.decode().splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadLogs(f"{path} is not readable CSV ({error}). Restore it.") from None
    for number, row in enumerate(rows, start=1):
        if any(character in cell for cell in row for character in ',"\n'):
            raise BadLogs(f"{path}, line {number}: a comma or quote within a cell.")
    return "".join(",".join(row) + "\n" for row in rows).encode()


def _header(path: Path, line: bytes) -> list[str]:
    try:
        header = line.decode().split(",")
    except UnicodeDecodeError as error:
        raise BadLogs(f"{path}, line 1: the header is not UTF-8 ({error}).") from None
    if len(set(header)) < len(header):
        raise BadLogs(f"{path} names a column twice: {', '.join(header)}.")
    return header
