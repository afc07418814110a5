"""Lines of the official text files -> numbers, a block of lines at a time.

A line has 40 fields between tabs: the label, 13 integers, 26 categories of 8
characters. Everything works on the bytes of many lines at once and nearly always
outside of Python's global lock, so that threads convert several days in parallel.
"""

import re
from typing import NoReturn

import numpy as np

from algoperf.errors import BadData

from .fingerprint import fingerprint_of_words
from .reader import NUM_BUCKETS, NUM_CATEGORIES, NUM_INTEGERS

NUM_FIELDS = 1 + NUM_INTEGERS + NUM_CATEGORIES
_TAB, _NEWLINE, _MINUS = b"\t\n-"
_PAD = 8  # bytes before and after the text, so that 8 can be read anywhere in it
_WORD = 8

# `-1` stands for a missing value like an empty field; other negative numbers are
# clipped. Both end as 0 in the integers, where ln(1 + max(x, 0)) is taken.
_DEFAULT_CATEGORY = int.from_bytes(b"00000000", "little")
_MISSING = int.from_bytes(b"-1", "little")
_INTEGER = re.compile(rb"-?[0-9]+\Z")

# The last n bytes of a word, for n = 0 … 8.
_LAST_BYTES = np.array(
    [0] + [2**64 - 2 ** (64 - 8 * n) for n in range(1, _WORD + 1)], np.uint64
)
# Columns 0-9 add one digit to the value, 10-25 two.
_SUFFIX_GROUPS = ((slice(0, 10), 1), (slice(10, NUM_CATEGORIES), 2))


def parse(
    text: bytes, name: str, first_row: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole lines -> labels, logarithms and buckets.

    Returns uint8 [n], 0 or 1; float32 [13, n], ln(1 + max(x, 0)); int32 [26, n], below
    `NUM_BUCKETS` of its column. A line that is not as it should be is a `BadData` with
    the file's name and the row, counted from 1; the first line is row `first_row`.
    """
    block = _Block(text, name, first_row)
    return block.labels(), block.logarithms(), block.buckets()


class _Block:
    """The fields of a block of lines, and words of 8 bytes from anywhere in it.

    starts, ends: int64 [40, n], positions in the padded text.
    """

    def __init__(self, text: bytes, name: str, first_row: int) -> None:
        self.text, self.name, self.first_row = text, name, first_row
        self.bytes = np.empty(len(text) + 2 * _PAD, np.uint8)
        self.bytes[:_PAD] = self.bytes[-_PAD:] = 0
        self.bytes[_PAD:-_PAD] = np.frombuffer(text, np.uint8)
        self._words = np.ndarray(
            (len(text) + _PAD,), "<u8", buffer=self.bytes.data, strides=(1,)
        )
        self.ends = self._separators()
        self.starts = np.empty_like(self.ends)
        self.starts[0, 0] = _PAD
        self.starts[0, 1:] = self.ends[-1, :-1] + 1
        self.starts[1:] = self.ends[:-1] + 1
        self.lengths = self.ends - self.starts

    def _separators(self) -> np.ndarray:
        # Nothing in a good file is below a newline but tabs.
        found = np.flatnonzero(self.bytes[_PAD:-_PAD] <= _NEWLINE)
        if found.size % NUM_FIELDS == 0:
            found += _PAD
            ends = np.ascontiguousarray(found.reshape(-1, NUM_FIELDS).T)
            kinds = self.bytes[ends]
            if (kinds[:-1] == _TAB).all() and (kinds[-1] == _NEWLINE).all():
                return ends
        self._refuse_columns()

    def _refuse_columns(self) -> NoReturn:
        for row, line in enumerate(self.text.split(b"\n")):
            count = line.count(b"\t") + 1
            if count != NUM_FIELDS:
                self._refuse(row, f"has {count} columns instead of {NUM_FIELDS}")
            if any(byte < _TAB for byte in line):
                self._refuse(row, "has bytes that are no text")
        raise AssertionError("a block that no line of it explains")

    def _refuse(self, row: int, what: str) -> NoReturn:
        raise BadData(
            f"{self.name}, row {self.first_row + row:,} {what}. The file is damaged or "
            "not one of the official ones: get it again."
        )

    def _refuse_field(self, row: int, field: int, what: str) -> NoReturn:
        text = self._field(row, field).decode(errors="replace")
        self._refuse(row, f"has {text!r} in column {field + 1}: {what}")

    def _field(self, row: int, field: int) -> bytes:
        return self.bytes[self.starts[field, row] : self.ends[field, row]].tobytes()

    def labels(self) -> np.ndarray:
        """uint8 [n]; a missing label is 0."""
        labels: np.ndarray = self.bytes[self.starts[0]] - np.uint8(ord("0"))
        odd = (self.lengths[0] != 1) | (labels > 1)
        for row in np.flatnonzero(odd).tolist():
            if self._field(row, 0) not in (b"", b"-1"):
                self._refuse_field(row, 0, "a label is 0 or 1")
            labels[row] = 0
        return labels

    def logarithms(self) -> np.ndarray:
        """float32 [13, n]."""
        fields = slice(1, 1 + NUM_INTEGERS)
        lengths = self.lengths[fields]
        words = self._words[self.ends[fields] - _WORD]
        values, is_good = _decimal(words, np.minimum(lengths, _WORD))
        is_good &= lengths <= _WORD
        odd_columns, odd_rows = np.nonzero(~is_good)
        if odd_rows.size:
            values[odd_columns, odd_rows] = self._odd_integers(odd_columns, odd_rows)
        # Rounded once, from float64: the same on every machine.
        return np.log(values + 1.0).astype(np.float32)

    def _odd_integers(self, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """float64: fields that are not up to 8 digits; negative ones become 0."""
        starts, ends = self.starts[1 + columns, rows], self.ends[1 + columns, rows]
        is_negative = self.bytes[starts] == _MINUS
        lengths = np.clip(ends - starts - 1, 0, _WORD)
        _, is_good = _decimal(self._words[ends - _WORD], lengths)
        is_good &= is_negative & (ends - starts - 1 == lengths) & (lengths > 0)
        values = np.zeros(len(rows))
        for place in np.flatnonzero(~is_good):
            row, field = rows[place], 1 + columns[place]
            if not _INTEGER.match(self._field(row, field)):
                self._refuse_field(row, field, "not an integer")
            values[place] = max(0.0, float(self._field(row, field)))
        return values

    def buckets(self) -> np.ndarray:
        """int32 [26, n]."""
        fields = slice(1 + NUM_INTEGERS, None)
        words = self._words[self.starts[fields]]
        odd_columns, odd_rows = np.nonzero(self.lengths[fields] != _WORD)
        if odd_rows.size:
            self._check_missing(odd_columns, odd_rows, words[odd_columns, odd_rows])
            words[odd_columns, odd_rows] = _DEFAULT_CATEGORY
        return hash_categories(words)

    def _check_missing(
        self, columns: np.ndarray, rows: np.ndarray, words: np.ndarray
    ) -> None:
        lengths = self.lengths[1 + NUM_INTEGERS + columns, rows]
        is_default = (lengths == 2) & (words & np.uint64(0xFFFF) == _MISSING)
        is_bad = (lengths > 0) & ~is_default
        if is_bad.any():
            place = int(np.argmax(is_bad))
            field = 1 + NUM_INTEGERS + int(columns[place])
            self._refuse_field(rows[place], field, "a category has 8 characters")


def hash_categories(words: np.ndarray) -> np.ndarray:
    """Fingerprint64(value and column number) mod the column's size: int32 [26, n].

    words: uint64 [26, n], the 8 characters of each value, the first in the lowest byte.
    """
    buckets = np.empty(words.shape, np.int32)
    for columns, num_digits in _SUFFIX_GROUPS:
        last = words[columns] >> np.uint64(8 * num_digits)
        last |= _suffixes(range(NUM_CATEGORIES)[columns], num_digits)
        hashes = fingerprint_of_words(words[columns], last, _WORD + num_digits)
        for column, values in zip(range(NUM_CATEGORIES)[columns], hashes, strict=True):
            size = np.uint64(NUM_BUCKETS[column])
            # Quotients by one number are vectorised, remainders are not.
            values -= (values // size) * size
            buckets[column] = values
    return buckets


def _suffixes(columns: range, num_digits: int) -> np.ndarray:
    """The columns' decimal numbers in the highest bytes of a word: uint64 [columns, 1]."""
    shift = 8 * (_WORD - num_digits)
    numbers = [int.from_bytes(str(c).encode(), "little") << shift for c in columns]
    return np.array(numbers, np.uint64)[:, np.newaxis]


def _decimal(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers that the last `lengths` characters of words spell: float64, bool.

    An empty one is 0. The second array says where all characters are digits. Eight
    digits are added up in three products (neighbours, then pairs, then fours).
    """
    digits = (words ^ np.uint64(0x3030303030303030)) & _LAST_BYTES[lengths]
    overflow = (digits + np.uint64(0x7676767676767676)) | digits
    is_good = (overflow & np.uint64(0x8080808080808080)) == 0
    digits = digits * np.uint64(10) + (digits >> np.uint64(8))
    pairs = np.uint64(0x000000FF000000FF)
    low = (digits & pairs) * np.uint64(0x000F424000000064)
    high = ((digits >> np.uint64(16)) & pairs) * np.uint64(0x0000271000000001)
    return ((low + high) >> np.uint64(32)).astype(np.float64), is_good
