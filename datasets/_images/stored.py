"""The prepared form of small labelled images: two memory-mapped arrays a split."""

from dataclasses import dataclass

import numpy as np

from algoperf.definition import Split, materialised
from algoperf.prepared import PreparedData

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
KINDS = ("images", "labels")
# The fact that says that the validation split is the test split, and has no files.
VALIDATION_IS_TEST = "validation_is_test"


def part_name(split: Split, kind: str) -> str:
    """The file of the prepared data that holds one array of a split."""
    return f"{split}-{kind}.npy"


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes.

    images: uint8 [n, height, width, channels]; labels: uint8 [n], from 0.
    """

    images: np.ndarray
    labels: np.ndarray


def read_split(data: PreparedData, split: Split) -> LabelledImages:
    """The arrays of a split, mapped into memory: nothing is read until it is used.

    `eval_train` is a choice of training examples, so it reads the train files.
    """
    stored = materialised(split)
    if stored == "validation" and data.facts.get(VALIDATION_IS_TEST):
        stored = "test"
    images, labels = (data.array(part_name(stored, kind)) for kind in KINDS)
    count = data.counts[stored]
    if len(images) != count or len(labels) != count:
        raise data.incomplete(stored, "examples")
    # Grey images are stored without an axis for the channels.
    return LabelledImages(
        images[..., np.newaxis] if images.ndim == 3 else images, labels
    )
