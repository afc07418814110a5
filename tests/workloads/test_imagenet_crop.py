"""Which part of an image is kept."""

import numpy as np
import pytest

from algoperf.workloads._imagenet import crop
from algoperf.workloads._imagenet.crop import Box


class Scripted:
    """Draws that were written down; notes the bounds that were asked for."""

    def __init__(self, floats, integers):
        self._floats, self._integers = iter(floats), iter(integers)
        self.bounds = []

    def random(self):
        return next(self._floats)

    def integers(self, low, high=None):
        self.bounds.append((0, low) if high is None else (low, high))
        return next(self._integers)


def test_an_attempt_follows_the_published_arithmetic():
    # 375 x 500, aspect 0.75 + 0.5 * 0.58333 = 1.041667: areas of 8 % and 100 % have
    # heights 120 and 424, of which 375 fit; 200 * 1.041667 = 208.3.
    rng = Scripted([0.5], [200, 30, 40])
    assert crop.random_box(375, 500, rng) == Box(30, 40, 200, 208)
    assert rng.bounds == [(120, 376), (0, 375 - 200), (0, 500 - 208)]


def test_heights_are_limited_where_the_width_would_not_fit():
    # 400 x 100, aspect 1.25: 8 % of the area has height 51, all of it 179, but then
    # width 224; width 100 is reached at height 80.
    rng = Scripted([6 / 7], [70, 5, 3])
    assert crop.random_box(400, 100, rng) == Box(5, 3, 70, 88)
    assert rng.bounds[0] == (51, 81)


def test_a_crop_of_less_than_a_tenth_is_drawn_again():
    # Height 120 gives 120 * 125 = 8 % of the area; the second attempt is kept.
    rng = Scripted([0.5, 0.5], [120, 200, 0, 0])
    assert crop.random_box(375, 500, rng) == Box(0, 0, 200, 208)


def test_a_crop_that_rounding_makes_too_small_grows_by_a_row():
    # 10 x 100, aspect 1: at least 80 pixels; a height of 8 (64 pixels) becomes 9.
    assert crop._random_size(10, 100, Scripted([3 / 7], [8])) == (9, 9)


def test_no_box_comes_out_of_ten_failed_attempts():
    # One pixel row of 100: no aspect ratio up to 4/3 covers 8 % of it.
    assert crop.random_box(1, 100, np.random.default_rng(0)) is None


def test_failed_crops_and_whole_images_become_the_centre():
    rng = np.random.default_rng(0)
    assert crop.training_box(1, 100, 224, 256, rng) == Box(0, 50, 1, 1)
    whole = Scripted([3 / 7], [40])  # a square image, all of it
    expected = crop.centre_box(40, 40, 224, 256)
    assert crop.training_box(40, 40, 224, 256, whole) == expected


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (375, 500, Box(24, 86, 328, 328)),  # 0.875 * 375 = 328.1; (47 + 1) // 2
        (256, 256, Box(16, 16, 224, 224)),
        (257, 300, Box(17, 38, 224, 224)),
    ],
)
def test_evaluation_keeps_the_published_centre(height, width, expected):
    assert crop.centre_box(height, width, 224, 256) == expected


def test_a_tiny_image_keeps_one_pixel():
    assert crop.centre_box(1, 1, 224, 256) == Box(0, 0, 1, 1)


def test_crops_spread_over_the_allowed_areas_aspects_and_places():
    rng = np.random.default_rng(3)
    boxes = [crop.random_box(375, 500, rng) for _ in range(4000)]
    assert all(boxes)
    tops, lefts, heights, widths = np.array(boxes).T
    shares = heights * widths / (375 * 500)
    assert 0.1 <= shares.min() < 0.105
    assert shares.max() > 0.9
    # Heights are drawn evenly for an aspect, so the middle of the areas lies lower
    # than with evenly drawn areas (0.54).
    assert 0.35 < np.median(shares) < 0.45
    aspects = widths / heights
    assert 0.745 < aspects.min() < 0.76
    assert 1.32 < aspects.max() < 1.34
    assert ((tops + heights <= 375) & (lefts + widths <= 500)).all()
    assert tops.min() == lefts.min() == 0
