"""The prepared fastMRI: memory-mapped slices, half transformed.

A mask hides whole columns of k-space, the same for all rows. So the inverse Fourier
transform along the rows (the axis of length 640) does not depend on the mask: it is
done once, in preparation, and only the 320 rows that are left after cropping are
kept. That halves the data, and leaves transforms along the other axis for later.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from algoperf.definition import Split, materialised
from algoperf.prepared import PreparedData

DATASET = "fastmri"
FORMAT_VERSION = 1
_Count = TypeVar("_Count", int, np.ndarray)
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# One row a slice. `offset` counts float32 values from the beginning of the part.
SLICE = np.dtype(
    [
        ("part", "<u4"),
        ("volume", "<u4"),
        ("num_columns", "<u4"),
        ("volume_max", "<f4"),
        ("offset", "<i8"),
    ]
)


def table_name(split: Split) -> str:
    """The file that says where the slices of a split are: `SLICE` [slices]."""
    return f"{split}-slices.npy"


def part_name(split: Split, part: int) -> str:
    """A file of slices: float32 [values], for each slice its columns and its target."""
    return f"{split}-{part:03}.npy"


def slice_size(num_columns: _Count, side: int) -> _Count:
    """How many float32 values a slice takes; num_columns: int, or array of them."""
    return 2 * num_columns * side + side * side


@dataclass(frozen=True)
class Slices:
    """The slices of one split, in the order of the files' names.

    table: `SLICE` [slices]; parts: float32 [values] each; side: of the images.
    """

    table: np.ndarray
    parts: tuple[np.ndarray, ...]
    side: int

    def __len__(self) -> int:
        return len(self.table)

    @property
    def volume_max(self) -> np.ndarray:
        """The largest value of the volume that each slice belongs to: float32 [n]."""
        return self.table["volume_max"]

    def columns(self, index: int) -> np.ndarray:
        """The columns of k-space, transformed along the rows: complex64 [W, side].

        Column c holds sqrt(1 / rows) times the inverse transform of k-space column c,
        both centred (zero frequency and image centre in the middle), and of it the
        `side` rows in the middle of the image.
        """
        row = self.table[index]
        begin, width = int(row["offset"]), int(row["num_columns"])
        end = begin + 2 * width * self.side
        flat: np.ndarray = self.parts[row["part"]][begin:end]
        return flat.view(np.complex64).reshape(width, self.side)

    def target(self, index: int) -> np.ndarray:
        """The image made of all measurements: float32 [side, side], 0 and above."""
        row = self.table[index]
        begin = int(row["offset"]) + 2 * int(row["num_columns"]) * self.side
        flat: np.ndarray
        flat = self.parts[row["part"]][begin : begin + self.side * self.side]
        return flat.reshape(self.side, self.side)


def read_split(data: PreparedData, split: Split) -> Slices:
    """The slices of a split, mapped into memory: nothing is read until it is used.

    `eval_train` is a choice of training examples, so it reads the train files.
    """
    stored = materialised(split)
    table = data.array(table_name(stored))
    num_parts = int(table["part"].max()) + 1 if table.dtype == SLICE else 0
    parts = tuple(data.array(part_name(stored, part)) for part in range(num_parts))
    slices = Slices(table, parts, data.fact("side", int))
    if len(table) != data.counts[stored] or not num_parts or not _is_whole(slices):
        raise data.incomplete(stored, "slices")
    return slices


def _is_whole(slices: Slices) -> bool:
    """Whether every part ends where its last slice does."""
    table = slices.table
    widths = table["num_columns"].astype(np.int64)
    ends = table["offset"] + slice_size(widths, slices.side)
    return all(
        len(part) == ends[table["part"] == number].max(initial=0)
        for number, part in enumerate(slices.parts)
    )
