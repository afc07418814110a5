"""Whole lines of one official file, or of its pieces, a block at a time."""

import contextlib
import gzip
import importlib
from pathlib import Path
from typing import Any, BinaryIO

from algoperf import input_files
from algoperf.errors import BadData

# isal's twin of the module gzip, where there is one: it unpacks two to three times as
# fast, and a conversion gains a quarter.
_gzip: Any = gzip
_DAMAGES: tuple[type[Exception], ...] = ()
with contextlib.suppress(ImportError):
    _gzip = importlib.import_module("isal.igzip")
    _DAMAGES = (importlib.import_module("isal.isal_zlib").error,)

# About 2,000 rows: what is made of a block then fits into a core's cache.
_BLOCK_BYTES = 1 << 19
_MAX_LINE_BYTES = 1 << 20  # longer than any line; a file of anything else has them
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LineSource:
    """Reads lines in order; what is in memory is a block, however large the files are.

    Several files, packed or not, are read one after the other. `path` is the current one.
    """

    def __init__(self, *paths: Path) -> None:
        self.rows_read = 0  # of all files
        self._stack = contextlib.ExitStack()
        self._next = list(paths)
        self._rest = b""  # read, but not taken
        self._open_next()

    def _open_next(self) -> None:
        self._stack.close()
        self.path = self._next.pop(0)
        self._rows_before = self.rows_read
        self._file = _open(self.path, self._stack)
        self._is_at_start = True
        self._is_at_end = False

    @property
    def rows_of_file(self) -> int:
        """How many lines of the current file were taken."""
        return self.rows_read - self._rows_before

    def take(self, max_rows: int) -> tuple[bytes, int]:
        """The next lines and their number, at most `max_rows`; 0 behind the last file.

        All are of one file. `BadData` if that is cut off or damaged.
        """
        while b"\n" not in self._rest:
            if not self._is_at_end:
                self._read_more()
            elif self._next:
                self._open_next()
            else:
                break
        end = self._rest.rfind(b"\n") + 1
        count = self._rest.count(b"\n", 0, end)
        if count > max_rows:
            count, end = max_rows, _end_of_line(self._rest, max_rows)
        lines, self._rest = self._rest[:end], self._rest[end:]
        self.rows_read += count
        # Files that went through Windows.
        return lines.replace(b"\r\n", b"\n"), count

    def skip(self, num_rows: int) -> None:
        """Skips that many lines, or to the end of the file."""
        while num_rows:
            _, count = self.take(num_rows)
            if not count:
                return
            num_rows -= count

    def close(self) -> None:
        """Closes the file."""
        self._stack.close()

    def _read_more(self) -> None:
        try:
            with input_files.reading(self.path, damages=_DAMAGES):
                block = self._file.read(_BLOCK_BYTES)
        except BadData as error:
            raise BadData(
                f"{error} Rows up to {self.rows_of_file:,} are good."
            ) from error
        if self._is_at_start:  # some editors put a mark there
            block = block.removeprefix(_BYTE_ORDER_MARK)
            self._is_at_start = False
        self._rest += block
        self._is_at_end = not block
        if self._is_at_end and self._rest:
            raise BadData(
                f"{self.path} is cut off: row {self.rows_of_file + 1:,} has no line end. "
                f"{input_files.GET_AGAIN}"
            )
        if len(self._rest) > _MAX_LINE_BYTES and b"\n" not in self._rest:
            raise BadData(
                f"{self.path}: row {self.rows_of_file + 1:,} has no end within "
                f"{_MAX_LINE_BYTES:,} bytes, so this is no file of lines. "
                f"{input_files.GET_AGAIN}"
            )


def _open(path: Path, stack: contextlib.ExitStack) -> BinaryIO:
    if input_files.size_bytes(path) == 0:
        raise BadData(f"{path} is empty. {input_files.GET_AGAIN}")
    file = stack.enter_context(input_files.opened(path))
    if path.suffix == ".gz":
        unpacked: BinaryIO = stack.enter_context(_gzip.open(file, "rb"))
        return unpacked
    return file


def _end_of_line(text: bytes, number: int) -> int:
    """Where the first `number` lines end."""
    end = 0
    for _ in range(number):
        end = text.index(b"\n", end) + 1
    return end
