"""Which part of an image is kept: random crops of training, centre crops of evaluation."""

import math
from typing import NamedTuple

import numpy as np

# Of the published training pipeline: TensorFlow's sampler of distorted bounding boxes,
# its box being the whole image.
AREA_RANGE = (0.08, 1.0)
ASPECT_RANGE = (3 / 4, 4 / 3)
MIN_COVERED = 0.1
ATTEMPTS = 10


class Box(NamedTuple):
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int


def random_box(height: int, width: int, rng: np.random.Generator) -> Box | None:
    """A random crop of an image of `height` x `width`; None if all attempts failed.

    An attempt draws an aspect ratio (width / height) evenly, then a height evenly from
    those that give an area within bounds, then a place. One that does not fit into the
    image, or covers too little of it, fails. So areas are not drawn evenly, and those
    under a tenth of the image never come out.
    """
    for _ in range(ATTEMPTS):
        size = _random_size(height, width, rng)
        if size is None or size[0] * size[1] < MIN_COVERED * height * width:
            continue
        # The last possible place is never drawn, as in the published sampler.
        top, left = (
            int(rng.integers(room)) if room else 0
            for room in (height - size[0], width - size[1])
        )
        return Box(top, left, *size)
    return None


def _random_size(
    height: int, width: int, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Height and width of a crop, or None if they break a bound."""
    aspect = ASPECT_RANGE[0] + rng.random() * (ASPECT_RANGE[1] - ASPECT_RANGE[0])
    smallest, largest = (share * height * width for share in AREA_RANGE)
    highest = round(math.sqrt(largest / aspect))
    if round(highest * aspect) > width:
        highest = int((width + 0.5 - 1e-7) / aspect)
    highest = min(highest, height)
    lowest = min(round(math.sqrt(smallest / aspect)), highest)
    crop_height = int(rng.integers(lowest, highest + 1))
    crop_width = round(crop_height * aspect)
    # Rounding may have left the bounds of the area.
    if crop_height * crop_width < smallest:
        crop_height += 1
    elif crop_height * crop_width > largest:
        crop_height -= 1
    crop_width = round(crop_height * aspect)
    fits = 0 < crop_height <= height and 0 < crop_width <= width
    if not fits or not smallest <= crop_height * crop_width <= largest:
        return None
    return crop_height, crop_width


def centre_box(height: int, width: int, image_size: int, resize_size: int) -> Box:
    """The centre square that evaluation keeps: image_size / resize_size of the short side."""
    side = max(1, image_size * min(height, width) // resize_size)
    return Box((height - side + 1) // 2, (width - side + 1) // 2, side, side)


def training_box(
    height: int,
    width: int,
    image_size: int,
    resize_size: int,
    rng: np.random.Generator,
) -> Box:
    """A random crop, or the centre square where that is the whole image or failed."""
    box = random_box(height, width, rng)
    if box is None or (box.height, box.width) == (height, width):
        return centre_box(height, width, image_size, resize_size)
    return box
