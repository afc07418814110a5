"""From a slice's measured columns to what the model gets: image, crop, normalisation."""

from dataclasses import dataclass

import numpy as np

from algoperf.errors import BadData

_LIMIT = 6.0  # normalised values are cut off at plus and minus this


@dataclass(frozen=True)
class Processed:
    """A slice. inputs, targets: float32 [side, side], -6 to 6.

    mean, std: of the input's magnitudes, by which both were normalised.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mean: np.float32
    std: np.float32


def process(columns: np.ndarray, mask: np.ndarray, target: np.ndarray) -> Processed:
    """The image of the columns that `mask` leaves, and the target, both normalised.

    columns: complex64 [W, side], see `datasets.fastmri.reader`; mask: bool [W]; target:
    float32 [side, side].
    """
    magnitude = zero_filled(columns, mask)
    mean = magnitude.mean()
    magnitude -= mean
    std = np.sqrt(np.mean(np.square(magnitude)))
    if not std > 0:
        raise BadData(
            f"A slice has mean {mean} and standard deviation {std} after masking: it "
            "cannot be normalised. Prepare the data again from the official files."
        )
    magnitude /= std
    targets = np.subtract(target, mean)
    targets /= std
    for image in (magnitude, targets):
        np.clip(image, -_LIMIT, _LIMIT, out=image)
    return Processed(magnitude, targets, mean, std)


def zero_filled(columns: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Magnitude of the image with zeros for what was not measured: [side, side].

    The orthonormal inverse transform along the columns, centred, of which the `side`
    columns in the middle are kept.
    """
    width, side = columns.shape
    measured = np.flatnonzero(mask)
    shifted = np.zeros((side, width), np.complex64)
    shifted[:, (measured - width // 2) % width] = columns[measured].T
    image = np.fft.ifft(shifted, axis=1, norm="ortho")
    # Column c of the image, counted from its centre, is at c modulo the width.
    left = width // 2 - (width - side) // 2
    magnitude = np.empty((side, side), np.float32)
    np.abs(image[:, width - left :], out=magnitude[:, :left])
    np.abs(image[:, : side - left], out=magnitude[:, left:])
    return magnitude
