"""RandAugment: random distortions of training images, as the published JAX code has them.

Each of two layers picks one of 16 operations evenly and always applies it, at magnitude
10 of 10. Images are uint8 [3, height, width] (planes of red, green and blue). Quirks
that define what is trained on are kept and named; all randomness is drawn from the
given generator.
"""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

NUM_LAYERS = 2
FACTOR = 1.9  # of the enhancing operations: magnitude 10 / 10 * 1.8 + 0.1
EMPTY = 128  # value of pixels that come from outside the image
POSTERIZE_BITS = 4  # that are kept, of 8
SOLARIZE_ADD = 110  # to values below 128
MAX_DEGREES = 30.0
SHEAR = 0.3
# Of images of 224 pixels; in proportion for others.
_FULL_SIZE = 224
_TRANSLATION = 100
_CUTOUT_HALF = 40
# The published code adds up a histogram's counts where it means its values. For images
# of 224 x 224 pixels that is 224 * 224 / 256 = 196, whatever is on them.
CONTRAST_GREY = 196
_LUMA = np.array([0.2989, 0.587, 0.114], np.float32)  # TensorFlow's

Operation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def randaugment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two random operations, one after the other. uint8 [3, h, w] to the same."""
    for _ in range(NUM_LAYERS):
        image = OPERATIONS[rng.integers(len(OPERATIONS))](image, rng)
    return image


def auto_contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each channel stretched so that its values reach from 0 to 255."""
    tables = [_stretch(int(plane.min()), int(plane.max())) for plane in image]
    return _look_up(tables, image)


def _stretch(low: int, high: int) -> np.ndarray:
    values = np.arange(256, dtype=np.float32)
    if high > low:
        scale = np.float32(255) / np.float32(high - low)
        values = values * scale - np.float32(low) * scale
    return np.clip(values, 0, 255).astype(np.uint8)


def equalize(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each channel's values spread so that all are about as frequent (Pillow's rule)."""
    counts = [np.bincount(plane.ravel(), minlength=256) for plane in image]
    return _look_up([_equalizing(of_plane) for of_plane in counts], image)


def _equalizing(counts: np.ndarray) -> np.ndarray:
    """A table for values that occur `counts` times (int64 [256])."""
    last = counts[np.flatnonzero(counts)[-1]]
    step = int(counts.sum() - last) // 255
    if step == 0:
        return np.arange(256, dtype=np.uint8)
    below: np.ndarray = np.cumsum(counts) - counts
    return ((below + step // 2) // step).clip(0, 255).astype(np.uint8)


def invert(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """255 - x."""
    return ~image


def posterize(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Only the four high bits."""
    return image & np.uint8(256 - 2 ** (8 - POSTERIZE_BITS))


def solarize(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Inverts values from a threshold on; here all of them.

    The published threshold is 256, meant to invert nothing, but it wraps to 0.
    """
    return invert(image, rng)


def solarize_add(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds 110 to values below 128."""
    result: np.ndarray = image + (image < 128).view(np.uint8) * np.uint8(SOLARIZE_ADD)
    return result


def color(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Away from the image's grey version, by a factor of 1.9."""
    # TensorFlow's conversion: to 0..1 and back with 255.5, truncated.
    luma = np.tensordot(_LUMA / np.float32(255), image.astype(np.float32), 1)
    grey = (luma * np.float32(255.5)).astype(np.uint8)
    return _blend(grey, image)


def contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Away from one grey value, by a factor of 1.9."""
    return _blend(np.uint8(CONTRAST_GREY), image)


def brightness(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """1.9 times as bright."""
    return _blend(np.uint8(0), image)


def sharpness(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Away from a smoothed version, by a factor of 1.9; the border stays as it is."""
    wide = image.astype(np.uint16)
    across = wide[:, :, :-2] + wide[:, :, 1:-1]
    across += wide[:, :, 2:]
    total = across[:, :-2] + across[:, 1:-1]
    total += across[:, 2:]
    total += 4 * wide[:, 1:-1, 1:-1]  # the centre counts 5 times, its neighbours once
    smooth = (total // 13).astype(np.uint8)
    result = image.copy()
    result[:, 1:-1, 1:-1] = _blend(smooth, image[:, 1:-1, 1:-1])
    return result


def rotate(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By 30 degrees about the centre, to either side."""
    angle = math.radians(_signed(MAX_DEGREES, rng))
    cos, sin = math.cos(angle), math.sin(angle)
    y, x = (np.array(image.shape[1:]) - 1) / 2  # the centre
    return transform(
        image, (cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y)
    )


def shear_x(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows shifted by 0.3 of their distance from the top, to either side."""
    return transform(image, (1, _signed(SHEAR, rng), 0), (0, 1, 0))


def shear_y(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Columns shifted by 0.3 of their distance from the left, up or down."""
    return transform(image, (1, 0, 0), (_signed(SHEAR, rng), 1, 0))


def translate_x(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By 100 pixels, to either side."""
    return _shifted(image, 2, _signed(_scaled(_TRANSLATION, image), rng))


def translate_y(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """By 100 pixels, up or down."""
    return _shifted(image, 1, _signed(_scaled(_TRANSLATION, image), rng))


def cutout(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grey square of 80 pixels about a random pixel, cut off at the image's borders."""
    height, width = image.shape[1:]
    half = _scaled(_CUTOUT_HALF, image)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    result = image.copy()
    result[:, max(0, y - half) : y + half, max(0, x - half) : x + half] = EMPTY
    return result


OPERATIONS: tuple[Operation, ...] = (
    auto_contrast,
    equalize,
    invert,
    rotate,
    posterize,
    solarize,
    color,
    contrast,
    brightness,
    sharpness,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
    cutout,
    solarize_add,
)


def transform(
    image: np.ndarray,
    x_from: tuple[float, float, float],
    y_from: tuple[float, float, float],
) -> np.ndarray:
    """Pixel (x, y) of the result is the one nearest to a place in the image.

    That place is (a x + b y + c, d x + e y + f) with x_from = (a, b, c) and y_from =
    (d, e, f); halves are rounded away from zero. Outside the image it is grey.
    """
    _, height, width = image.shape
    source = _sources(height, width, x_from, y_from)
    planes = np.empty((3, height * width + 1), np.uint8)
    planes[:, :-1] = image.reshape(3, -1)
    planes[:, -1] = EMPTY
    return np.take(planes, source, axis=1, mode="clip")


@functools.lru_cache(maxsize=16)  # 0.4 MB each; a run has 6 distortions
def _sources(
    height: int,
    width: int,
    x_from: tuple[float, float, float],
    y_from: tuple[float, float, float],
) -> np.ndarray:
    """Where in the image's rows, then one grey pixel, pixels lie: [height, width]."""
    column, inside_x = _nearest(x_from, height, width, width)
    row, inside_y = _nearest(y_from, height, width, height)
    source: np.ndarray = (row * np.int32(width) + column).astype(np.intp)
    source[~(inside_x & inside_y)] = height * width
    source.flags.writeable = False
    return source


def _nearest(
    from_: tuple[float, float, float], height: int, width: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """One coordinate of the source pixels, and whether it is inside: [height, width]."""
    a, b, c = from_
    x, y = np.arange(width), np.arange(height)[:, np.newaxis]
    places = (a * x).astype(np.float32) + (b * y + c).astype(np.float32)
    inside = (places > -0.5) & (places < limit - 0.5)
    return (places + np.float32(0.5)).astype(np.int32), inside


def _shifted(image: np.ndarray, axis: int, pixels: float) -> np.ndarray:
    """result[i] = image[i + pixels] along an axis; grey where that is outside."""
    by = int(pixels)
    size = image.shape[axis]
    result = np.full_like(image, EMPTY)
    source, target = [slice(None)] * 3, [slice(None)] * 3
    source[axis] = slice(max(0, by), size + min(0, by))
    target[axis] = slice(max(0, -by), size - max(0, by))
    result[tuple(target)] = image[tuple(source)]
    return result


def _signed(value: float, rng: np.random.Generator) -> float:
    return value if rng.random() < 0.5 else -value


def _scaled(pixels: int, image: np.ndarray) -> int:
    width: int = image.shape[2]
    return round(pixels * width / _FULL_SIZE)


def _blend(grey: np.ndarray | np.uint8, image: np.ndarray) -> np.ndarray:
    """grey + 1.9 (image - grey), in 0..255, truncated; uint8 arrays that broadcast.

    In whole tenths: for all values the same as in float32, and several times faster.
    """
    tenths = image.astype(np.int16)
    tenths *= round(10 * FACTOR)
    tenths -= np.asarray(grey, np.int16) * np.int16(round(10 * FACTOR) - 10)
    np.clip(tenths, 0, 2559, out=tenths)
    positive = tenths.view(np.uint16)  # is divided faster
    positive //= 10
    return positive.astype(np.uint8)


def _look_up(tables: Sequence[np.ndarray], image: np.ndarray) -> np.ndarray:
    """Each plane's values replaced by those in its table, uint8 [256]."""
    result = np.empty_like(image)
    for table, plane, out in zip(tables, image, result, strict=True):
        # Python's own table look-up is faster than numpy's.
        found = plane.tobytes().translate(table.tobytes())
        out[:] = np.frombuffer(found, np.uint8).reshape(plane.shape)
    return result
