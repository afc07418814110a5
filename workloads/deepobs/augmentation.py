"""What happens to training images of 32 x 32 pixels (sheet, §1): the first release's rules.

The colours are changed on the scale of 0 to 255, so that the brightness, which moves by a quarter
of a level at most, has no effect to speak of. That is how the published numbers were made.
"""

import functools

import numpy as np

_PADDING = 2  # zeros on each side, from which a crop is cut
_BRIGHTNESS = 63 / 255
_SATURATION = (0.5, 1.5)
_CONTRAST = (0.2, 1.8)
_NUM_DRAWS = (
    6  # an image and epoch: row, column, mirror, brightness, saturation, contrast
)


class Draws:
    """Random numbers that depend on the seed, the example and the epoch, and nothing else."""

    def __init__(self, num_examples: int, seed: int) -> None:
        self._size = num_examples
        self._seed = seed
        self._uniform = functools.lru_cache(maxsize=2)(self._uniform_of)
        self._normal = functools.lru_cache(maxsize=2)(self._normal_of)

    def at(self, example_ids: np.ndarray, epochs: np.ndarray) -> np.ndarray:
        """Uniform in [0, 1): float32 [n, 6]."""
        return _picked(self._uniform, example_ids, epochs)

    def noise(
        self, size: int, example_ids: np.ndarray, epochs: np.ndarray
    ) -> np.ndarray:
        """Standard normal: float32 [n, size]."""
        return _picked(lambda epoch: self._normal(epoch, size), example_ids, epochs)

    def _uniform_of(self, epoch: int) -> np.ndarray:
        return self._generator(epoch).random((self._size, _NUM_DRAWS), np.float32)

    def _normal_of(self, epoch: int, size: int) -> np.ndarray:
        return self._generator(epoch).standard_normal((self._size, size), np.float32)

    def _generator(self, epoch: int) -> np.random.Generator:
        words = np.random.SeedSequence((self._seed, 0x41554746, epoch))
        return np.random.Generator(np.random.Philox(words))


def _picked(of_epoch, example_ids: np.ndarray, epochs: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    rows = [of_epoch(int(epoch)) for epoch in np.unique(epochs)]
    if len(rows) == 1:
        picked: np.ndarray = rows[0][example_ids]
        return picked
    place = np.searchsorted(np.unique(epochs), epochs)
    return np.stack([rows[p][i] for p, i in zip(place, example_ids, strict=True)])


def augmented(images: np.ndarray, numbers: np.ndarray, *, flipped: bool) -> np.ndarray:
    """Cropped, mirrored if asked for, and recoloured; float32 [n, 32, 32, 3], 0 to 255.

    numbers: uniform in [0, 1), [n, 6].
    """
    row, column, mirror, brightness, saturation, contrast = numbers.T
    images = _cropped(images, row, column)
    if flipped:
        images = np.where(
            (mirror < 0.5)[:, None, None, None], images[:, :, ::-1], images
        )
    images = images + _between(-_BRIGHTNESS, _BRIGHTNESS, brightness)
    images = _saturated(images, _between(*_SATURATION, saturation))
    means = images.mean(axis=(1, 2), keepdims=True)  # of each channel
    result: np.ndarray = (images - means) * _between(*_CONTRAST, contrast) + means
    return result


def _between(low: float, high: float, numbers: np.ndarray) -> np.ndarray:
    values = np.float32(low) + np.float32(high - low) * numbers
    return values[:, None, None, None]


def _cropped(images: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    height, width = images.shape[1:3]
    margin = (_PADDING, _PADDING)
    padded = np.pad(images, ((0, 0), margin, margin, (0, 0)))
    places = 2 * _PADDING + 1
    rows = (row * places).astype(int)[:, None] + np.arange(height)
    columns = (column * places).astype(int)[:, None] + np.arange(width)
    image = np.arange(len(images))[:, None, None]
    result: np.ndarray = padded[image, rows[:, :, None], columns[:, None, :]]
    return result


def _saturated(images: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """The saturation (of hue, saturation and value) times `factor`, at most 1."""
    value = images.max(axis=-1, keepdims=True)
    spread = value - images.min(axis=-1, keepdims=True)
    # With saturation s = spread / value, channels are value - (value - channel) * factor.
    most = np.divide(value, spread, out=np.ones_like(value), where=spread > 0)
    result: np.ndarray = value - (value - images) * np.minimum(factor, most)
    return result
