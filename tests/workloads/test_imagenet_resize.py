"""Bicubic resizing: against a slow transcription, and against JAX."""

import numpy as np
import pytest

from algoperf.workloads._imagenet.crop import Box
from algoperf.workloads._imagenet.resize import Scratch, _blocks, taps
from algoperf.workloads._imagenet.resize import resize as resize_into

SIZES = [(375, 224), (500, 224), (224, 224), (100, 224), (63, 32), (32, 32), (5, 8)]


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def resize(source, box, size, scratch=None, **options):
    out = np.full((size, size, 3), np.nan, np.float32)
    resize_into(source, box, out, scratch or Scratch(), **options)
    return out


def keys(x):
    """Keys' cubic kernel with a = -0.5, as in his paper."""
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def slow_matrix(num_in, num_out):
    """The weight of each source pixel for each output pixel: [num_out, num_in]."""
    matrix = np.zeros((num_out, num_in))
    for i in range(num_out):
        centre = (i + 0.5) * num_in / num_out - 0.5
        for j in range(num_in):
            matrix[i, j] = keys(centre - j)
        matrix[i] /= matrix[i].sum()
    return matrix


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(20, 31, 16), (7, 90, 14), (40, 3, 9), (1, 1, 8), (2, 5, 7), (16, 16, 16)],
)
def test_it_equals_a_slow_transcription(height, width, size):
    source = image(height, width)
    down, across = slow_matrix(height, size), slow_matrix(width, size)
    expected = np.einsum("yi,xj,ijc->yxc", down, across, source.astype(float))
    found = resize(source, Box(0, 0, height, width), size)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_it_equals_jax_without_antialiasing():
    jax = pytest.importorskip("jax")
    source = image(375, 500)
    box = Box(20, 35, 301, 417)
    part = source[20:321, 35:452].astype(np.float32)
    expected = jax.image.resize(part, (224, 224, 3), "cubic", antialias=False)
    found = resize(source, box, 224)
    np.testing.assert_allclose(found, np.asarray(expected), atol=2e-2)


def test_the_box_is_cut_before_it_is_resized():
    source = image(30, 40)
    alone = np.ascontiguousarray(source[3:20, 5:33])
    one = resize(source, Box(3, 5, 17, 28), 16)
    other = resize(alone, Box(0, 0, 17, 28), 16)
    np.testing.assert_array_equal(one, other)


def test_an_image_of_the_wanted_size_stays_as_it_is():
    source = image(32, 32)
    found = resize(source, Box(0, 0, 32, 32), 32)
    np.testing.assert_array_equal(found, source)


def test_values_may_leave_the_range_of_bytes():
    source = np.zeros((40, 40, 3), np.uint8)
    source[:, 20:] = 255
    found = resize(source, Box(0, 0, 40, 40), 32)
    assert found.min() < -5
    assert found.max() > 260


def test_results_do_not_depend_on_what_the_memory_held():
    scratch = Scratch()
    big = resize(image(90, 120), Box(0, 0, 90, 120), 32, scratch)
    resize(image(300, 200), Box(1, 2, 250, 150), 32, scratch)
    again = resize(image(90, 120), Box(0, 0, 90, 120), 32, scratch)
    np.testing.assert_array_equal(big, again)


@pytest.mark.parametrize("size", [32, 25])
def test_channels_are_scaled_each_by_its_own_number(size):
    source, box = image(40, 50), Box(2, 3, 30, 41)
    plain = resize(source, box, size)
    scaled = resize(source, box, size, scale=(0.5, 1, 3))
    np.testing.assert_allclose(scaled, plain * [0.5, 1, 3], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("size", [32, 25])
def test_mirrored_is_the_same_from_right_to_left(size):
    source, box = image(40, 50), Box(2, 3, 30, 41)
    plain = resize(source, box, size)
    mirrored = resize(source, box, size, is_mirrored=True)
    np.testing.assert_allclose(mirrored, plain[:, ::-1], atol=1e-3)


@pytest.mark.parametrize("largest", [4, 8])
@pytest.mark.parametrize(("num_in", "num_out"), SIZES)
def test_weights_add_up_to_one_and_blocks_hold_all_of_them(num_in, num_out, largest):
    pixels, weights = taps(num_in, num_out)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    blocks = _blocks(num_in, num_out, largest)
    dense = np.zeros((num_out, num_in))
    count, block, window = blocks.weights.shape
    for i, rows in enumerate(blocks.rows.reshape(count, window)):
        dense[i * block : (i + 1) * block, rows] = blocks.weights[i]
    expected = np.zeros((num_out, num_in))
    for i in range(num_out):
        for pixel, weight in zip(pixels[i], weights[i], strict=True):
            if 0 <= pixel < num_in:
                expected[i, pixel] += weight
    np.testing.assert_allclose(dense, expected, atol=1e-7)
