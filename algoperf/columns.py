"""A CSV file of numbers, read column by column when asked for.

Scoring needs three of about fifteen columns, so cells become numbers one column at a
time. Splitting the whole text at once in C is faster than finding the cells of a few
columns; it is not kept, as it takes several times the memory of the text.
"""

import codecs
import csv
import functools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from algoperf.errors import BadLogs
from algoperf.files import read_regular

_OTHERS = {
    b"\x1f\x8b": "a gzip archive, to be unpacked first",
    b"\xfd7zXZ": "an xz archive, to be unpacked first",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    codecs.BOM_UTF16_LE: "UTF-16 text, to be saved as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16 text, to be saved as UTF-8",
    b"version https://git-lfs": "a pointer of Git LFS, to be fetched with `git lfs pull`",
    b"<": "a web page, perhaps of a download that failed",
}


class Columns(Mapping[str, np.ndarray]):
    """Columns by name, float64 [rows]; NaN where a cell is empty."""

    def __init__(self, path: str | Path) -> None:
        """Reads the file and checks its shape; BadLogs names the line that is wrong."""
        self.path = path
        self._data = _plain_bytes(path)
        header, _, _ = self._data.partition(b"\n")
        self._index = _header(path, header)
        self._split: list[bytes] | None = self._checked_cells()
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

    @property
    def ends_oddly(self) -> bool:
        """Whether the last row holds a negative or infinite number; reads no other row."""
        row = self._data[self._data.rfind(b"\n", 0, -1) :].lower()
        return any(text in row for text in (b",-", b"\n-", b"inf"))

    @property
    def fingerprint(self) -> tuple[int, bytes]:
        """Equal for equal files, and hardly ever for the logs of two runs."""
        return len(self._data), self._data[-256:]

    def same_text(self, a: str, b: str) -> bool:
        """Whether two columns hold the same characters in every row."""
        return self._cells(a) == self._cells(b)

    def is_blank(self, column: str) -> bool:
        """Whether the cells of a column are empty, which NaN written out is not."""
        return not any(cell.strip() for cell in self._cells(column))

    def forget_cells(self) -> None:
        """Frees much memory; a column that is asked for later takes a little longer."""
        self._split = None

    def _cells(self, column: str) -> list[bytes]:
        index, width = self._index[column], len(self._index)
        if self._split is not None:
            return self._split[width + 1 + index :: width + 1]
        lines = self._data[:-1].split(b"\n")[1:]
        after = width - 1 - index
        if after < index:
            return [line.rsplit(b",", after + 1)[-after - 1] for line in lines]
        return [line.split(b",", index + 1)[index] for line in lines]

    def _all_cells(self) -> list[bytes]:
        """All cells, the header's too, with an entry for each line end."""
        return self._data[:-1].replace(b"\n", b",\n,").split(b",")

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

    def _checked_cells(self) -> list[bytes]:
        width = len(self._index)
        cells = self._all_cells()
        num_rows, left = divmod(len(cells) + 1, width + 1)
        num_line_ends = cells[width :: width + 1].count(b"\n")
        if not left and num_line_ends == num_rows - 1 == self._data.count(b"\n") - 1:
            return cells
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
    data = read_regular(path)
    if not data.strip():
        raise BadLogs(
            f"{path} is empty; it must have a header row. Remove the trial or the file."
        )
    if what := _other_format(data):
        raise BadLogs(f"{path} is not a CSV file: it looks like {what}. Restore it.")
    data = data.removeprefix(codecs.BOM_UTF8)  # spreadsheets write one
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if not data.endswith(b"\n"):
        last = data.count(b"\n") + 1
        raise BadLogs(
            f"{path}, line {last} has no line end: the file is truncated. Restore it."
        )
    data = data.rstrip(b"\n") + b"\n"
    return _unquoted(path, data) if b'"' in data else data


def _other_format(data: bytes) -> str:
    """What a file is that is often met where a CSV file should be; empty for a CSV file."""
    return next((what for start, what in _OTHERS.items() if data.startswith(start)), "")


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
    names = [name.strip() for name in line.decode().split(",")]
    return names, {name: i for i, name in enumerate(names)}
