"""RandAugment: each operation against a slow transcription of its description."""

import math

import numpy as np
import pytest

from algoperf.workloads._imagenet import augment

FACTOR = 1.9


class Draws:
    """A generator whose signs and places are given."""

    def __init__(self, sign=1, integers=()):
        self._sign, self._integers = sign, iter(integers)

    def random(self):
        return 0.0 if self._sign > 0 else 0.9

    def integers(self, high):
        value = next(self._integers)
        assert 0 <= value < high
        return value


def image(height=21, width=26, low=0, high=256):
    rng = np.random.default_rng(5)
    return rng.integers(low, high, (3, height, width), np.uint8)


def each_value(function, source):
    """`function` of (channel, y, x) for every value of an image."""
    result = np.zeros_like(source)
    for place in np.ndindex(source.shape):
        result[place] = function(*place)
    return result


def truncated(value):
    return int(min(max(value, 0.0), 255.0))


def blend(grey, value):
    """In float32, as published: grey + 1.9 (value - grey)."""
    grey, value = np.float32(grey), np.float32(value)
    return truncated(grey + np.float32(FACTOR) * (value - grey))


def apply(name, source, draws=None):
    """The operation's result; it must leave its input alone."""
    before = source.copy()
    result = getattr(augment, name)(source, draws or Draws())
    np.testing.assert_array_equal(source, before)
    assert result.dtype == np.uint8
    assert result.shape == source.shape
    return result


def test_there_are_the_16_published_operations():
    names = {operation.__name__ for operation in augment.OPERATIONS}
    assert len(augment.OPERATIONS) == len(names) == 16
    assert {"rotate", "cutout", "solarize", "solarize_add", "contrast"} < names


def test_auto_contrast_stretches_each_channel():
    source = image(low=30, high=200)
    source[1] = 77  # of one value: unchanged

    def value(c, y, x):
        low, high = (np.float32(f(source[c])) for f in (np.min, np.max))
        if low == high:
            return source[c, y, x]
        scale = np.float32(255) / (high - low)
        return truncated(np.float32(source[c, y, x]) * scale - low * scale)

    expected = each_value(value, source)
    np.testing.assert_array_equal(apply("auto_contrast", source), expected)
    assert expected[0].min() == 0
    assert expected[0].max() >= 254


@pytest.mark.parametrize("high", [3, 60, 256])
def test_equalize_is_that_of_pillow(high):
    Image = pytest.importorskip("PIL.Image")
    from PIL import ImageOps

    source = image(70, 80, high=high)
    source[2] = 9
    expected = ImageOps.equalize(Image.fromarray(source.transpose(1, 2, 0)))
    found = apply("equalize", source).transpose(1, 2, 0)
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_equalize_leaves_images_of_few_pixels_alone():
    source = image(4, 5)
    np.testing.assert_array_equal(apply("equalize", source), source)


@pytest.mark.parametrize("name", ["invert", "solarize"])
def test_invert_and_the_published_solarize_turn_values_over(name):
    source = image()
    expected = each_value(lambda *place: 255 - int(source[place]), source)
    np.testing.assert_array_equal(apply(name, source), expected)


def test_posterize_keeps_four_bits():
    source = image()
    expected = each_value(lambda *place: int(source[place]) // 16 * 16, source)
    np.testing.assert_array_equal(apply("posterize", source), expected)


def test_solarize_add_brightens_dark_values():
    source = image()

    def value(*place):
        old = int(source[place])
        return min(old + 110, 255) if old < 128 else old

    expected = each_value(value, source)
    np.testing.assert_array_equal(apply("solarize_add", source), expected)


def test_blending_in_tenths_is_that_in_floats_for_all_values():
    grey, value = np.indices((256, 256)).astype(np.uint8)
    wide = grey.astype(np.float32)
    expected = wide + np.float32(FACTOR) * (value.astype(np.float32) - wide)
    found = augment._blend(grey, value)
    np.testing.assert_array_equal(found, np.clip(expected, 0, 255).astype(np.uint8))


def test_brightness_multiplies():
    source = image()
    expected = each_value(lambda *place: blend(0, source[place]), source)
    np.testing.assert_array_equal(apply("brightness", source), expected)


def test_contrast_blends_with_the_published_grey():
    source = image()
    expected = each_value(lambda *place: blend(196, source[place]), source)
    np.testing.assert_array_equal(apply("contrast", source), expected)
    assert augment.CONTRAST_GREY == 224 * 224 // 256


def test_color_blends_with_each_pixels_grey():
    source = image()

    def value(c, y, x):
        red, green, blue = (float(v) / 255 for v in source[:, y, x])
        luma = 0.2989 * red + 0.587 * green + 0.114 * blue
        return blend(int(luma * 255.5), source[c, y, x])

    expected = each_value(value, source).astype(int)
    found = apply("color", source).astype(int)
    # Where the grey value is almost whole, float32 may round it to either side.
    assert (found == expected).mean() > 0.99
    assert np.abs(found - expected).max() <= 1


def test_sharpness_blends_with_a_smooth_version_inside_the_border():
    source = image()
    _, height, width = source.shape

    def value(c, y, x):
        if y in (0, height - 1) or x in (0, width - 1):
            return source[c, y, x]
        around = int(source[c, y - 1 : y + 2, x - 1 : x + 2].sum(dtype=int))
        smooth = (around + 4 * int(source[c, y, x])) // 13
        return blend(smooth, source[c, y, x])

    expected = each_value(value, source)
    np.testing.assert_array_equal(apply("sharpness", source), expected)


def nearest(source, x_from, y_from):
    """Slow transform: the nearest pixel, halves away from zero, 128 outside."""
    _, height, width = source.shape

    def away(value):
        value = round(value, 4)  # float32's ties
        return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)

    def value(c, y, x):
        column = away(x_from[0] * x + x_from[1] * y + x_from[2])
        row = away(y_from[0] * x + y_from[1] * y + y_from[2])
        inside = 0 <= column < width and 0 <= row < height
        return source[c, row, column] if inside else 128

    return each_value(value, source)


@pytest.mark.parametrize("sign", [1, -1])
def test_rotate_turns_by_30_degrees_about_the_centre(sign):
    source = image()
    _, height, width = source.shape
    cos, sin = math.cos(math.pi / 6), sign * math.sin(math.pi / 6)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    expected = nearest(
        source,
        (cos, -sin, middle_x - cos * middle_x + sin * middle_y),
        (sin, cos, middle_y - sin * middle_x - cos * middle_y),
    )
    np.testing.assert_array_equal(apply("rotate", source, Draws(sign)), expected)
    assert (expected[:, 0, 0] == 128).all()
    assert (expected[:, height // 2, width // 2] != 128).any()


@pytest.mark.parametrize("sign", [1, -1])
def test_shears_shift_by_three_tenths_from_the_origin(sign):
    source = image()
    across = nearest(source, (1, sign * 0.3, 0), (0, 1, 0))
    np.testing.assert_array_equal(apply("shear_x", source, Draws(sign)), across)
    down = nearest(source, (1, 0, 0), (sign * 0.3, 1, 0))
    np.testing.assert_array_equal(apply("shear_y", source, Draws(sign)), down)
    assert (across[:, 0] == source[:, 0]).all()
    assert (down[:, :, 0] == source[:, :, 0]).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_translations_shift_by_100_pixels_of_224(sign):
    source = image(224, 224)
    across = nearest(source[:, :2], (1, 0, sign * 100), (0, 1, 0))
    found = apply("translate_x", source, Draws(sign))
    np.testing.assert_array_equal(found[:, :2], across)
    down = nearest(source[:, :, :2], (1, 0, 0), (0, 1, sign * 100))
    found = apply("translate_y", source, Draws(sign))
    np.testing.assert_array_equal(found[:, :, :2], down)


@pytest.mark.parametrize(
    ("y", "x", "rows", "columns"),
    [
        (100, 120, (60, 140), (80, 160)),
        (0, 223, (0, 40), (183, 224)),
        (223, 10, (183, 224), (0, 50)),
    ],
)
def test_cutout_greys_a_box_that_is_cut_off_at_borders(y, x, rows, columns):
    source = image(224, 224, high=128)
    expected = source.copy()
    expected[:, slice(*rows), slice(*columns)] = 128
    found = apply("cutout", source, Draws(integers=[y, x]))
    np.testing.assert_array_equal(found, expected)


def test_lengths_shrink_with_the_image():
    source = image(32, 32, high=128)
    found = apply("cutout", source, Draws(integers=[16, 16]))
    assert (found == 128).sum() == 3 * 12 * 12  # 40 * 32 / 224 is 5.7
    found = apply("translate_x", source, Draws())
    assert (found == 128).sum() == 3 * 32 * 14


def test_two_operations_are_applied_in_the_order_drawn():
    source = image(224, 224)
    names = [operation.__name__ for operation in augment.OPERATIONS]
    draws = Draws(integers=[names.index("brightness"), names.index("invert")])
    expected = augment.invert(augment.brightness(source, Draws()), Draws())
    np.testing.assert_array_equal(augment.randaugment(source, draws), expected)


def test_the_same_draws_give_the_same_image_and_others_another():
    source = image(64, 64)
    results = [
        augment.randaugment(source, np.random.default_rng(seed)) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


def test_operations_are_drawn_evenly(monkeypatch):
    calls = []
    fakes = [
        lambda image, rng, i=i: calls.append(i) or image
        for i in range(len(augment.OPERATIONS))
    ]
    monkeypatch.setattr(augment, "OPERATIONS", fakes)
    rng = np.random.default_rng(0)
    for _ in range(1600):
        augment.randaugment(image(2, 2), rng)
    counts = np.bincount(calls, minlength=16)
    assert counts.sum() == 3200
    assert counts.min() > 140  # 200 expected, deviation 14
