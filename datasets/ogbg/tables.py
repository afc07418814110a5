"""OGB's raw tables: gzip-packed CSV files without a header, in a folder or a zip file.

Tables of 100 million cells are parsed in numpy, block by block, and every row is
checked: a damaged file is a `BadData` that names the file and the row.
"""

import contextlib
import gzip
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from algoperf import input_files
from algoperf.errors import BadData

_BLOCK_BYTES = 1 << 22
_COMMA, _NEWLINE, _ZERO = b",\n0"
_MAX_DIGITS = 9
_REMEDY = "Get the official file again."
# Far more than the largest official table, which a damaged or hostile file may unpack to.
_MAX_TABLE_BYTES = 1 << 32
_MAX_LINE_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MISSING = 255  # a label that was not measured

Parse = Callable[["_Cells"], np.ndarray]


class Tables:
    """The tables of a folder, or of a zip file, by their path in it.

    A name ends in `.csv.gz`; the table may lie there without its last suffix, unpacked.
    """

    def __init__(self, place: Path, prefix: str = "") -> None:
        self.place = place  # a folder or a zip file
        self._prefix = prefix  # folder within the zip file
        self._members: dict[str, int] | None = None  # of the zip file, with their sizes
        if not input_files.is_folder(place):
            with _opened_zip(place) as archive:
                self._members = {i.filename: i.file_size for i in archive.infolist()}

    def shown(self, name: str) -> str:
        """How errors name a table."""
        return f"{self.place}/{self._prefix}{self._found(name)[0]}"

    def size_bytes(self, name: str) -> int:
        """Size of a table's file; `BadData` where there is none of that name."""
        found, size = self._found(name)
        if size is not None:
            return size
        if self._members is None:
            below = (entry.path for entry in input_files.files_below(self.place))
            there = [path.relative_to(self.place).as_posix() for path in below]
        else:
            there = list(self._members)
        raise BadData(
            f"There is no file {self.place}/{self._prefix}{found}."
            f"{input_files.suggestion(found, there)} {_REMEDY}"
        )

    def is_packed(self, name: str) -> bool:
        """Whether the table's file is gzip-packed."""
        return self._found(name)[0].endswith(".gz")

    def _found(self, name: str) -> tuple[str, int | None]:
        """The name that a table really has, and its size; None: there is none."""
        for candidate in (name, name.removesuffix(".gz")):
            if self._members is None:
                size = input_files.size_or_none(self.place / candidate)
            else:
                size = self._members.get(self._prefix + candidate)
            if size is not None:
                return candidate, size
        return name, None

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
        found, shown = self._found(name)[0], self.shown(name)
        with contextlib.ExitStack() as stack:
            stack.enter_context(input_files.reading(shown, _REMEDY))
            if self._members is None:
                file: Any = stack.enter_context(input_files.opened(self.place / found))
            else:
                archive = stack.enter_context(_opened_zip(self.place))
                file = stack.enter_context(archive.open(self._prefix + found))
            if found.endswith(".gz"):
                file = stack.enter_context(gzip.open(file))
            yield from _whole_lines(file, shown)


@contextlib.contextmanager
def _opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    with input_files.opened(path) as file, zipfile.ZipFile(file) as archive:
        try:
            yield archive
        except RuntimeError as error:  # a password is needed
            raise BadData(f"{path} cannot be unpacked ({error}). {_REMEDY}") from error


def zip_prefix(path: Path, name: str) -> str:
    """The folder within a zip file that the table `name` lies in, with its slash."""
    plain = name.removesuffix(".gz")
    with _opened_zip(path) as archive:
        for member in archive.namelist():
            for wanted in (name, plain):
                is_it = member == wanted or member.endswith(f"/{wanted}")
                if is_it and not input_files.is_litter(member):
                    return member.removesuffix(wanted)
    return ""


def _whole_lines(file: IO[bytes], shown: str) -> Iterator[bytes]:
    """The bytes of a file in blocks of whole lines, without marks of editors."""
    rest, total = b"", 0
    while block := file.read(_BLOCK_BYTES):
        if not total:
            block = block.removeprefix(_BYTE_ORDER_MARK)
        total += len(block)
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield (lines + newline).replace(b"\r\n", b"\n")
        if total > _MAX_TABLE_BYTES or len(rest) > _MAX_LINE_BYTES:
            raise BadData(
                f"{shown} is no table of molecules: more than "
                f"{_MAX_TABLE_BYTES:,} bytes, or {_MAX_LINE_BYTES:,} without a line end. "
                f"{_REMEDY}"
            )
    if rest:
        yield rest.removesuffix(b"\r") + b"\n"


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
    is_ending: np.ndarray = (text[:, 1:] == list(ending)).all(axis=1)
    return is_ending


def write(path: Path, table: np.ndarray) -> None:
    """Writes a table, NaN as an empty cell, gzip-packed; the same bytes every time."""
    rows = np.atleast_2d(table)
    cells = np.where(np.isnan(rows), "", np.nan_to_num(rows).astype(int).astype(str))
    lines = "".join(",".join(row) + "\n" for row in cells.tolist())
    path.write_bytes(gzip.compress(lines.encode(), compresslevel=9, mtime=0))
