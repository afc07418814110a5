"""A CSV file of numbers, read column by column when asked for.

Scoring needs three of about fifteen columns, so only the places of the separators are
found for the whole file, and cells become numbers one column at a time.
"""

import csv
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from algoperf.errors import BadLogs

_COMMA, _NEWLINE = b",\n"


class Columns(Mapping[str, np.ndarray]):
    """Columns by name, float64 [rows]; NaN where a cell is empty."""

    def __init__(self, path: str | Path) -> None:
        """Reads the file and checks its shape; BadLogs names the line that is wrong."""
        self.path = path
        self._data = _plain_bytes(path)
        header, _, _ = self._data.partition(b"\n")
        self._index = _header(path, header)
        # int [rows, columns]: where each cell ends; row 0 is the header
        self._ends = self._cell_ends()
        # Python reads "7_208" as a number; in a log it is a damaged one.
        self._has_underscore = self._data.find(b"_", len(header)) >= 0
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
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, column: object) -> bool:
        return column in self._index

    def same_text(self, a: str, b: str) -> bool:
        """Whether two columns hold the same characters in every row."""
        starts, ends = zip(self._bounds(a), self._bounds(b), strict=True)
        lengths = ends[0] - starts[0]
        if not len(lengths) or (lengths != ends[1] - starts[1]).any():
            return not len(lengths)
        # Places beyond a short cell are clipped to its last character (or its separator).
        offsets = np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
        characters = np.frombuffer(self._data, np.uint8)
        first, second = (characters[start[:, None] + offsets] for start in starts)
        return bool((first == second).all())

    def _bounds(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """[row] where the column's cells start and end in the file, in its order."""
        index = self._index[column]
        before = self._ends[1:, index - 1] if index else self._ends[:-1, -1]
        return before + 1, self._ends[1:, index]

    def _cells(self, column: str) -> list[bytes]:
        starts, ends = self._bounds(column)
        data = self._data
        return [data[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]

    def sort_rows(self, *keys: str) -> None:
        """Puts the rows in ascending order of `keys`, the first key first."""
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
        width = len(self._index)
        if len(ends) % width == 0:
            grid = ends.reshape(-1, width)
            num_newlines = np.count_nonzero(newlines)
            if num_newlines == len(grid) and newlines[grid[:, -1]].all():
                return grid
        for number, line in enumerate(self._data.split(b"\n"), start=1):
            if line.count(b",") + 1 != width:
                raise BadLogs(
                    f"{self.path}, line {number} has {line.count(b',') + 1} cells; the "
                    f"header has {width}. The file is truncated or mixed; restore it."
                )
        raise BadLogs(f"{self.path} is not a table of {width} columns; restore it.")

    def _numbers(self, column: str) -> np.ndarray:
        cells = self._cells(column)
        try:
            if not self._has_underscore:
                return np.array(list(map(float, cells)))
        except ValueError:
            pass  # an empty cell, or one that is reported below
        for row, cell in enumerate(cells):
            if cell and not _is_number(cell):
                text = cell.decode(errors="replace")
                raise BadLogs(
                    f"{self.path}, line {row + 2}, column {column!r}: {text!r} is not a "
                    "number. Restore the file, or remove the trial."
                )
        return np.array([float(cell) if cell else math.nan for cell in cells])


def _is_number(cell: bytes) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return b"_" not in cell


def _plain_bytes(path: str | Path) -> bytes:
    """The file with plain line ends and no quotes."""
    try:
        with open(path, "rb") as file:
            data = file.read()
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


def _unquoted(path: str | Path, data: bytes) -> bytes:
    try:
        rows = list(csv.reader(data.decode().splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadLogs(f"{path} is not readable CSV ({error}). Restore it.") from None
    for number, row in enumerate(rows, start=1):
        if any(character in cell for cell in row for character in ',"\n'):
            raise BadLogs(f"{path}, line {number}: a comma or quote within a cell.")
    return "".join(",".join(row) + "\n" for row in rows).encode()


def _header(path: str | Path, line: bytes) -> Mapping[str, int]:
    """Place of each column by name."""
    try:
        names, places = _parsed_header(line)
    except UnicodeDecodeError as error:
        raise BadLogs(f"{path}, line 1: the header is not UTF-8 ({error}).") from None
    if len(places) < len(names):
        raise BadLogs(f"{path} names a column twice: {', '.join(names)}.")
    return places


@functools.lru_cache(maxsize=128)  # thousands of files have a few headers
def _parsed_header(line: bytes) -> tuple[list[str], Mapping[str, int]]:
    names = line.decode().split(",")
    return names, {name: i for i, name in enumerate(names)}
