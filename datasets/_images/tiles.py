"""Small pieces of free photographs: what the shipped forms of colour data sets are made of.

The photographs are those that stand for ImageNet (`datasets/imagenet/embedded`, with their
NOTICE). Each is divided into fields that belong to one split, so that no pixel of a
photograph is in two splits. Nothing here is an image of the data set that it stands for.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from algoperf import packages
from algoperf.datasets.imagenet import photographs

from .stored import LabelledImages
from .writing import RawFile

SIDE = 32  # pixels
# Images of each split; validation is the end of the train file.
COUNTS = {"train": 3_000, "validation": 1_000, "test": 1_000}
# The ten in colour, in the order of their classes.
_NAMES = (
    "astronaut",
    "chelsea",
    "china",
    "coffee",
    "flower",
    "grace_hopper",
    "hubble_deep_field",
    "ihc",
    "retina",
    "rocket",
)
NUM_PHOTOGRAPHS = len(_NAMES)
# Orders of the colour channels, and whether the image is a negative.
COLOURINGS = tuple(
    itertools.islice(
        itertools.product((False, True), itertools.permutations(range(3))), 10
    )
)
_SEED = 20268


def coloured(images: np.ndarray, colouring: int) -> np.ndarray:
    """Images with their channels in another order, or negative; uint8 [n, 32, 32, 3]."""
    is_negative, order = COLOURINGS[colouring]
    changed = images[..., order]
    return 255 - changed if is_negative else changed


def of_photographs(num_colourings: int = 1) -> dict[RawFile, LabelledImages]:
    """Images of both files; class `photograph * num_colourings + colouring`.

    As many of each class in each split, in random order; the same every time with the
    same Pillow.
    """
    num_classes = NUM_PHOTOGRAPHS * num_colourings
    parts: dict[str, LabelledImages] = {}
    for split, count in COUNTS.items():
        per_class = count // num_classes
        images, labels = [], []
        for number in range(NUM_PHOTOGRAPHS):
            of_photograph = pieces(number, split, per_class * num_colourings)
            for colouring in range(num_colourings):
                chosen = of_photograph[colouring * per_class :][:per_class]
                images.append(coloured(chosen, colouring))
                label = number * num_colourings + colouring
                labels.append(np.full(per_class, label, np.uint8))
        order = _rng(len(parts)).permutation(count)
        parts[split] = LabelledImages(
            np.concatenate(images)[order], np.concatenate(labels)[order]
        )
    return in_files(parts)


def in_files(parts: Mapping[str, LabelledImages]) -> dict[RawFile, LabelledImages]:
    """The two files of three splits: the train file ends with validation."""
    both = parts["train"], parts["validation"]
    train = LabelledImages(
        np.concatenate([part.images for part in both]),
        np.concatenate([part.labels for part in both]),
    )
    return {"train": train, "test": parts["test"]}


def pieces(photograph: int, split: str, count: int) -> np.ndarray:
    """Random pieces of a photograph's fields of one split: uint8 [count, 32, 32, 3]."""
    rng = _rng(photograph, sorted(COUNTS).index(split))
    paths = {path.stem: path for path in photographs.sources()}
    pillow = packages.load("PIL.Image", "Cutting the shipped photographs")
    with pillow.open(paths[_NAMES[photograph]]) as image:
        fields = itertools.cycle(photographs.fields(*image.size)[split])
        cut = _cut(image, itertools.islice(fields, count), rng)
        return np.stack([np.asarray(piece) for piece in cut])


def _cut(
    image: Any, fields: Iterator[photographs.Field], rng: np.random.Generator
) -> Iterator[Any]:
    for field in fields:
        box = photographs.piece_box(field, rng)
        yield image.resize((SIDE, SIDE), resample=_BICUBIC, box=box)


_BICUBIC = 3  # PIL.Image.Resampling.BICUBIC; Pillow is imported late


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((_SEED, *key))))
