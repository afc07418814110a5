"""OGB's raw tables: gzip-packed CSV files without a header, in a folder or a zip file.

Tables of 100 million cells are parsed in numpy, block by block, and every row is
checked: a damaged file is a `BadData` that names the file and the row.
"""

import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from algoperf.errors import BadData, near

_BLOCK_BYTES = 1 << 22
_COMMA, _NEWLINE, _ZERO = b",\n0"
_MAX_DIGITS = 9
_REMEDY = "Get the official file again."
MISSING = 255  # a label that was not measured

Parse = Callable[["_Cells"], np.ndarray]


class Tables:
    """The tables of a folder, or of a zip file, by their path in it."""

    def __init__(self, place: Path, prefix: str = "") -> None:
        self.place = place  # a folder or a zip file
        self._prefix = prefix  # folder within the zip file

    def shown(self, name: str) -> str:
        """How errors name a table."""
        return f"{self.place}/{self._prefix}{name}"

    def size_bytes(self, name: str) -> int:
        """Size of a packed table; `BadData` where there is none of that name."""
        if self.place.is_dir():
            path = self.place / name
            if path.is_file():
                return path.stat().st_size
            found = sorted(p.relative_to(self.place) for p in self.place.rglob("*.gz"))
            raise self._missing(name, [str(path) for path in found])
        with _opened_zip(self.place) as archive:
            if self._prefix + name in archive.namelist():
                return archive.getinfo(self._prefix + name).file_size
            raise self._missing(name, archive.namelist())

    def _missing(self, name: str, found: list[str]) -> BadData:
        return BadData(
            f"There is no file {self.shown(name)}.{near(name, found)} {_REMEDY}"
        )

    def integers(
        self, name: str, columns: int, *, maximum: int, dtype: type[np.integer]
    ) -> np.ndarray:
        """A table of integers 0 to `maximum`, as `dtype` [rows, columns]."""
        return self._read(name, columns, lambda c: c.integers(maximum).astype(dtype))

    def labels(self, name: str, columns: int) -> np.ndarray:
        """A table of 0, 1 and empty or NaN cells (`MISSING`), uint8 [rows, columns]."""
        return self._read(name, columns, lambda cells: cells.labels())

    def _read(self, name: str, columns: int, parse: Parse) -> np.ndarray:
        parts, first_row = [], 0
        for block in self._blocks(name):
            cells = _Cells.of(block, columns, self.shown(name), first_row)
            parts.append(parse(cells).reshape(-1, columns))
            first_row += len(parts[-1])
        if not parts:
            raise BadData(f"{self.shown(name)} is empty. {_REMEDY}")
        return np.concatenate(parts)

    def _blocks(self, name: str) -> Iterator[bytes]:
        """The unpacked table in blocks of whole lines."""
        self.size_bytes(name)
        try:
            if self.place.is_dir():
                with gzip.open(self.place / name) as file:
                    yield from _whole_lines(file)
            else:
                with (
                    _opened_zip(self.place) as archive,
                    archive.open(self._prefix + name) as packed,
                    gzip.open(packed) as file,
                ):
                    yield from _whole_lines(file)
        except EOFError as error:
            raise BadData(
                f"{self.shown(name)} is cut off: its gzip data end early. {_REMEDY}"
            ) from error
        except (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
            raise BadData(
                f"{self.shown(name)} is damaged ({error}). {_REMEDY}"
            ) from error


def _opened_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise BadData(f"{path} is cut off or damaged ({error}). {_REMEDY}") from error


def zip_prefix(path: Path, name: str) -> str:
    """The folder within a zip file that the table `name` lies in, with its slash."""
    with _opened_zip(path) as archive:
        for member in archive.namelist():
            if member == name or member.endswith(f"/{name}"):
                return member.removesuffix(name)
    return ""


def _whole_lines(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    rest = b""
    while block := file.read(_BLOCK_BYTES):
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield (lines + newline).replace(b"\r\n", b"\n")
    if rest:
        yield rest + b"\n"


@dataclass(frozen=True)
class _Cells:
    """A block of lines, cut into cells."""

    data: np.ndarray  # uint8 [bytes]
    starts: np.ndarray  # int [cells]: where each cell begins …
    widths: np.ndarray  # … and its number of characters
    columns: int
    shown: str
    first_row: int

    @classmethod
    def of(cls, block: bytes, columns: int, shown: str, first_row: int) -> "_Cells":
        """Checks that every line has `columns` cells."""
        data = np.frombuffer(block, np.uint8)
        is_newline = data == _NEWLINE
        ends = np.flatnonzero(is_newline | (data == _COMMA))
        last = ends[columns - 1 :: columns]
        num_lines = np.count_nonzero(is_newline)
        if len(ends) != columns * num_lines or not is_newline[last].all():
            for row, line in enumerate(block.splitlines(), start=first_row + 1):
                if (found := line.count(b",") + 1) != columns:
                    raise BadData(
                        f"{shown}, row {row:,} has {found} columns; {columns} are "
                        f"expected. {_REMEDY}"
                    )
        starts = np.concatenate([[0], ends[:-1] + 1])
        return cls(data, starts, ends - starts, columns, shown, first_row)

    def integers(self, maximum: int) -> np.ndarray:
        """int64 [cells], each 0 to `maximum`."""
        ends = self.starts + self.widths
        is_good = (self.widths > 0) & (self.widths <= _MAX_DIGITS)
        values = np.zeros(len(ends), np.int64)
        for place in range(min(_MAX_DIGITS, self.widths.max(initial=0))):
            has_digit = np.flatnonzero(self.widths > place)
            digits = self.data[ends[has_digit] - 1 - place].astype(np.int64) - _ZERO
            is_good[has_digit] &= (digits >= 0) & (digits <= 9)
            values[has_digit] += digits * 10**place
        is_good &= values <= maximum
        self._check(is_good, f"integers from 0 to {maximum:,}")
        return values

    def labels(self) -> np.ndarray:
        """uint8 [cells]: 0, 1 or `MISSING`."""
        # The third character may lie in the next cell, or behind the last one.
        data = np.concatenate([self.data, [_NEWLINE, _NEWLINE]])
        text = np.stack([data[self.starts + i] for i in range(3)], axis=1)
        is_bit = (text[:, 0] == _ZERO) | (text[:, 0] == _ZERO + 1)
        is_float = (self.widths == 3) & _ends_in(text, b".0")
        is_number = is_bit & ((self.widths == 1) | is_float)
        is_nan = (self.widths == 3) & ((text | 0x20) == list(b"nan")).all(axis=1)
        is_missing = (self.widths == 0) | is_nan
        self._check(is_number | is_missing, "0, 1, or nothing")
        return np.where(is_missing, MISSING, text[:, 0] - _ZERO).astype(np.uint8)

    def _check(self, is_good: np.ndarray, expected: str) -> None:
        if is_good.all():
            return
        cell = int(np.argmin(is_good))
        row, column = divmod(cell, self.columns)
        start, width = int(self.starts[cell]), int(self.widths[cell])
        text = (
            self.data[start : start + min(width, 40)].tobytes().decode(errors="replace")
        )
        raise BadData(
            f"{self.shown}, row {self.first_row + row + 1:,}, column {column + 1}: "
            f"{text!r}; expected are {expected}. {_REMEDY}"
        )


def _ends_in(text: np.ndarray, ending: bytes) -> np.ndarray:
    return (text[:, 1:] == list(ending)).all(axis=1)


def write(path: Path, table: np.ndarray) -> None:
    """Writes a table, NaN as an empty cell, gzip-packed; the same bytes every time."""
    rows = np.atleast_2d(table)
    cells = np.where(np.isnan(rows), "", np.nan_to_num(rows).astype(int).astype(str))
    lines = "".join(",".join(row) + "\n" for row in cells.tolist())
    path.write_bytes(gzip.compress(lines.encode(), compresslevel=9, mtime=0))
