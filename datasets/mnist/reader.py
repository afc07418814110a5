"""The prepared MNIST: memory-mapped images and labels of each split."""

from dataclasses import dataclass

import numpy as np

from algoperf.definition import Split, materialised
from algoperf.prepared import PreparedData

DATASET = "mnist"
FORMAT_VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
KINDS = ("images", "labels")


def part_name(split: Split, kind: str) -> str:
    """The file of the prepared data that holds one array of a split."""
    return f"{split}-{kind}.npy"


@dataclass(frozen=True)
class Digits:
    """One split. images: uint8 [n, 28, 28], 255 is ink; labels: uint8 [n], 0 to 9."""

    images: np.ndarray
    labels: np.ndarray


def read_split(data: PreparedData, split: Split) -> Digits:
    """The arrays of a split, mapped into memory: nothing is read until it is used.

    `eval_train` is a choice of training examples, so it reads the train files.
    """
    stored = materialised(split)
    digits = Digits(*(data.array(part_name(stored, kind)) for kind in KINDS))
    count = data.counts[stored]
    if len(digits.images) != count or len(digits.labels) != count:
        raise data.incomplete(stored, "examples")
    return digits
