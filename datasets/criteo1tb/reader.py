"""The prepared Criteo logs: files of fixed-width rows, read straight into batches.

A file holds n rows: first what the model reads, little-endian float32 [n, 39] (13
logarithms, 26 buckets), then uint16 [n], `extras`: the label, and what rounding to
float32 has taken from the five columns of more than 2^24 buckets. So the published
inputs are read as they lie, and exact buckets can be had too, in 158 bytes a row.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, materialised
from algoperf.errors import BadData
from algoperf.prepared import PreparedData

DATASET = "criteo1tb"
FORMAT_VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
NUM_INTEGERS = 13
NUM_CATEGORIES = 26
NUM_INPUTS = NUM_INTEGERS + NUM_CATEGORIES
ROW_BYTES = 4 * NUM_INPUTS + 2

# Number of buckets of each category: the published sizes of the benchmark.
# fmt: off
NUM_BUCKETS = (
    39884406, 39043, 17289, 7420, 20263, 3, 7120, 1543, 63, 38532951, 2953546, 403346,
    10, 2208, 11938, 155, 4, 976, 14, 39979771, 25641295, 39664984, 585935, 12972, 108,
    36,
)
# fmt: on
# Float32 holds integers up to 2^24 exactly; above, the nearest even ones.
_ROUNDED = tuple(c for c, size in enumerate(NUM_BUCKETS) if size > 2**24)
_ROUNDED_INPUTS = [NUM_INTEGERS + column for column in _ROUNDED]
# Rounding changes a bucket below 2^26 by -2 to 2: 3 bits, after the label's.
_RESIDUAL_SHIFTS = np.array(
    [1 + 3 * place for place in range(len(_ROUNDED))], np.uint16
)
_RESIDUAL_OFFSET = 2


def pack(
    labels: np.ndarray, logarithms: np.ndarray, buckets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the form of the files: inputs float32 [n, 39], extras uint16 [n].

    labels: [n], 0 or 1; logarithms: [13, n]; buckets: int32 [26, n].
    """
    inputs = np.empty((len(labels), NUM_INPUTS), "<f4")
    inputs[:, :NUM_INTEGERS] = logarithms.T
    inputs[:, NUM_INTEGERS:] = buckets.T
    rounded = inputs[:, _ROUNDED_INPUTS].T.astype(np.int32)
    residuals = (buckets[list(_ROUNDED)] - rounded + _RESIDUAL_OFFSET).astype("<u2")
    extras = labels.astype("<u2")
    for residual, shift in zip(residuals, _RESIDUAL_SHIFTS, strict=True):
        extras |= residual << shift
    return inputs, extras


def labels_of(extras: np.ndarray) -> np.ndarray:
    """float32 [n], 0 or 1."""
    return (extras & 1).astype(np.float32)


def exact_buckets(inputs: np.ndarray, extras: np.ndarray) -> np.ndarray:
    """The buckets before rounding to float32: int32 [n, 26]."""
    buckets = inputs[:, NUM_INTEGERS:].astype(np.int32)
    residuals = (extras[:, np.newaxis] >> _RESIDUAL_SHIFTS) & 7
    buckets[:, list(_ROUNDED)] += residuals.astype(np.int32) - _RESIDUAL_OFFSET
    return buckets


@dataclass(frozen=True)
class RowFile:
    """One file of rows: the unit of the training order."""

    path: Path
    num_rows: int
    remedy: str = ""  # what to do where it is damaged

    def read(self, first: int, inputs: np.ndarray, extras: np.ndarray) -> None:
        """Fills the arrays with the rows from `first` on.

        inputs: float32 [n, 39], extras: uint16 [n], both contiguous. Reads bytes where
        they are wanted: nothing is mapped, and nothing is kept in memory.
        """
        with input_files.reading(self.path, self.remedy):
            file = os.open(self.path, os.O_RDONLY)
            try:
                self._fill(file, inputs, 4 * NUM_INPUTS * first)
                self._fill(file, extras, 4 * NUM_INPUTS * self.num_rows + 2 * first)
            finally:
                os.close(file)

    def _fill(self, file: int, array: np.ndarray, position: int) -> None:
        """Reads as many bytes as the array has, from `position` on."""
        if not array.size:
            return
        rest = array.data.cast("B")
        while rest:
            count = os.preadv(file, [rest], position)
            if not count:
                raise BadData(f"{self.path} is cut off. {self.remedy}")
            rest, position = rest[count:], position + count


def row_files(data: PreparedData, split: Split) -> Sequence[RowFile]:
    """The files of a split in the order of the logs; `eval_train` reads those of train.

    Their rows must be as many as the manifest promises.
    """
    stored = materialised(split)
    names = data.parts("files", stored)
    sizes = [data.manifest.files[name].size_bytes for name in names]
    total = sum(sizes) // ROW_BYTES
    if total != data.counts[stored] or any(size % ROW_BYTES for size in sizes):
        raise data.incomplete(stored, "rows")
    return [
        RowFile(data.path(name), size // ROW_BYTES, data.rewrite(name))
        for name, size in zip(names, sizes, strict=True)
    ]


class RowWriter:
    """Writes one file of rows, of which only the 2 extra bytes a row stay in memory."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._extras: list[np.ndarray] = []
        self.num_rows = 0

    def append(self, inputs: np.ndarray, extras: np.ndarray) -> None:
        """Adds rows as `pack` makes them."""
        self._file.write(np.ascontiguousarray(inputs, "<f4").data)
        self._extras.append(np.array(extras, "<u2"))
        self.num_rows += len(extras)

    def close(self) -> None:
        """Ends the file; without it, the file is not one of rows."""
        for extras in self._extras:
            self._file.write(extras.data)
        self._file.close()


def write_summary(path: Path, rows: Sequence[Sequence[int]]) -> None:
    """Writes a day's summary: the rows of the files of each of its splits."""
    path.write_text(json.dumps({"rows": rows}), "utf-8")


def read_summary(path: Path) -> list[list[int]]:
    """What `write_summary` wrote."""
    rows: list[list[int]] = json.loads(path.read_text("utf-8"))["rows"]
    return rows
