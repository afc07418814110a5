"""Bicubic resizing without antialiasing, as fast as numpy and its BLAS allow.

Keys' kernel with a = -0.5, half-pixel centres; weights outside the image are left out
and the others scaled to a sum of 1, as TensorFlow and JAX do.

Four source pixels make an output pixel, so each axis is a product with a sparse matrix.
It is done in blocks of neighbouring output pixels: their sources lie in one short
window, and small dense products run at full speed. Mirroring and scaling are part of
the second product's matrices, and it writes where the pixels are wanted: each further
pass over an image would cost as much as a product.
"""

import functools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .crop import Box

_TAPS = np.arange(-1, 3)
# Output pixels of a block along each axis; the fastest of 4, 8 and 16.
_ROWS, _COLUMNS = 8, 16


@dataclass(frozen=True)
class _Blocks:
    """One axis. rows: int64 [blocks * window]; weights: float32 [blocks, block, window]."""

    rows: np.ndarray
    weights: np.ndarray


def taps(num_in: int, num_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Source pixels (int64) and weights (float64) of each output pixel: [num_out, 4].

    Source pixels outside the image have weight 0.
    """
    centres = (np.arange(num_out) + 0.5) * (num_in / num_out) - 0.5
    pixels = np.floor(centres).astype(np.int64)[:, np.newaxis] + _TAPS
    distances = np.abs(centres[:, np.newaxis] - pixels)
    near = (1.5 * distances - 2.5) * distances**2 + 1
    far = ((-0.5 * distances + 2.5) * distances - 4) * distances + 2
    weights = np.where(distances <= 1, near, far)
    weights *= (pixels >= 0) & (pixels < num_in)
    return pixels, weights / weights.sum(axis=1, keepdims=True)


@functools.lru_cache(maxsize=2048)  # about 20 kB each
def _blocks(num_in: int, num_out: int, largest: int) -> _Blocks:
    block = next(b for b in range(largest, 0, -1) if num_out % b == 0)
    pixels, weights = taps(num_in, num_out)
    first, last = pixels[::block, 0], pixels[block - 1 :: block, -1]
    window = min(int((last - first).max()) + 1, num_in)
    first = first.clip(0, num_in - window)
    dense = np.zeros((len(first), block, window), np.float32)
    output = np.repeat(np.arange(num_out), len(_TAPS)).reshape(pixels.shape)
    column = pixels - np.repeat(first, block)[:, np.newaxis]
    inside = weights != 0
    dense[output[inside] // block, output[inside] % block, column[inside]] = weights[
        inside
    ]
    rows = (first[:, np.newaxis] + np.arange(window)).ravel()
    return _Blocks(rows, dense)


class Scratch(threading.local):
    """Memory that a thread uses again and again: fresh pages cost more than the work."""

    def __init__(self) -> None:
        self._memory: dict[str, np.ndarray] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """An array with whatever was in that memory; valid until the same name's next."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        memory = self._memory.get(name)
        if memory is None or memory.nbytes < size:
            memory = self._memory[name] = np.empty(size, np.uint8)
        return memory[:size].view(dtype).reshape(shape)


def resize(
    image: np.ndarray,
    box: Box,
    out: np.ndarray,
    scratch: Scratch,
    *,
    scale: Sequence[float] = (1, 1, 1),
    is_mirrored: bool = False,
) -> None:
    """A part of an image in the size of `out`; each channel times its `scale`.

    image: uint8 [height, width, 3], contiguous; only the rows of the box are read. out:
    float32 [size, size, 3], contiguous; unscaled values may leave 0..255.
    """
    size = len(out)
    down = _blocks(box.height, size, _ROWS)
    blocks, block, window = down.weights.shape
    sources = _float_rows(image, box, down.rows, scratch)
    # Output rows, source columns: [size, width * 3].
    rows = scratch.get("resized", (size, sources.shape[1]), np.float32)
    np.matmul(
        down.weights,
        sources.reshape(blocks, window, -1),
        out=rows.reshape(blocks, block, -1),
    )
    across = _blocks(box.width, size, _COLUMNS)
    matrices = _matrices(across, scale, is_mirrored, scratch)
    _, depth, breadth = matrices.shape
    pixels = out.reshape(size, -1)
    starts = 3 * across.rows.reshape(len(matrices), -1)[:, 0]
    ends = np.arange(len(matrices)) * breadth
    if is_mirrored:
        ends = ends[::-1]
    for matrix, start, end in zip(
        matrices, starts.tolist(), ends.tolist(), strict=True
    ):
        target = pixels[:, end : end + breadth]
        np.matmul(rows[:, start : start + depth], matrix, out=target)


def _float_rows(
    image: np.ndarray, box: Box, rows: np.ndarray, scratch: Scratch
) -> np.ndarray:
    """Some rows of a part of an image: float32 [len(rows), box.width * 3]."""
    num_values = image.shape[1] * 3
    # Whole rows are copied fastest; the columns are chosen on the way to floats.
    whole = scratch.get("rows", (len(rows), num_values), np.uint8)
    lines = image.reshape(-1, num_values)[box.top : box.top + box.height]
    np.take(lines, rows, axis=0, out=whole, mode="clip")
    kept = slice(3 * box.left, 3 * (box.left + box.width))
    sources = scratch.get("sources", (len(rows), 3 * box.width), np.float32)
    np.copyto(sources, whole[:, kept])
    return sources


def _matrices(
    across: _Blocks, scale: Sequence[float], is_mirrored: bool, scratch: Scratch
) -> np.ndarray:
    """The weights of a block for all channels: [blocks, window * 3, block * 3].

    Pixels have their channels side by side, so two thirds of a matrix are zero. That
    is still faster than to take the channels apart and put them together.
    """
    blocks, block, window = across.weights.shape
    weights = across.weights[:, :: -1 if is_mirrored else 1].transpose(0, 2, 1)
    shape = blocks, window, 3, block, 3
    matrices = scratch.get("matrices", shape, np.float32)
    matrices.fill(0)
    for channel in range(3):
        diagonal = matrices[:, :, channel, :, channel]
        np.multiply(weights, np.float32(scale[channel]), out=diagonal)
    return matrices.reshape(blocks, window * 3, block * 3)
