"""What stands for SVHN where it is not at hand: real digits, blended over photographs.

The digits are the shipped images of MNIST, the backgrounds pieces of free photographs; both
keep to their split. Nothing here is an image of SVHN.
"""

from pathlib import Path

import numpy as np

from algoperf.datasets._images import tiles
from algoperf.datasets._images.stored import LabelledImages
from algoperf.datasets.mnist.prepare import embedded_files

from . import matlab

_SEED = 20269
_DARK, _LIGHT = (0, 90), (165, 256)  # of a digit's colour values


def expand(raw: Path) -> None:
    """Writes 4,000 train images (the last 1,000 for validation) and 1,000 test images."""
    raw.mkdir(parents=True, exist_ok=True)
    digits = embedded_files()
    train = digits.read("train")
    num_train = tiles.COUNTS["train"]
    parts = {
        "train": LabelledImages(train.images[:num_train], train.labels[:num_train]),
        "validation": LabelledImages(
            train.images[num_train:], train.labels[num_train:]
        ),
        "test": digits.read("test"),
    }
    composed = {
        split: LabelledImages(_over_photographs(part.images, split), part.labels)
        for split, part in parts.items()
    }
    for file, images in tiles.in_files(composed).items():
        matlab.write(raw / matlab.NAMES[file], images)


def _over_photographs(digits: np.ndarray, split: str) -> np.ndarray:
    """digits: uint8 [n, 28, 28], 255 is ink. Returns uint8 [n, 32, 32, 3]."""
    rng = np.random.default_rng((_SEED, sorted(tiles.COUNTS).index(split)))
    per_photograph = -(-len(digits) // tiles.NUM_PHOTOGRAPHS)
    backgrounds = np.concatenate(
        [
            tiles.pieces(number, split, per_photograph)
            for number in range(tiles.NUM_PHOTOGRAPHS)
        ]
    )
    backgrounds = backgrounds[rng.permutation(len(backgrounds))[: len(digits)]]
    return np.stack(
        [blended(*pair, rng) for pair in zip(digits, backgrounds, strict=True)]
    )


def blended(
    digit: np.ndarray, background: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """A digit at a random place, light on a dark background or the other way round.

    digit: uint8 [28, 28]; background and result: uint8 [32, 32, 3].
    """
    margin = background.shape[0] - digit.shape[0]
    top, left = rng.integers(0, margin + 1, 2)
    ink = np.zeros((*background.shape[:2], 1))
    ink[top : top + digit.shape[0], left : left + digit.shape[1], 0] = digit / 255
    values = _DARK if background.mean() > 127 else _LIGHT
    colour = rng.integers(*values, 3)
    blend: np.ndarray = np.rint(ink * colour + (1 - ink) * background)
    return blend.astype(np.uint8)
