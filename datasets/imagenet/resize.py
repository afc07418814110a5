"""Bicubic resizing without antialiasing, as fast as numpy and its BLAS allow.

Keys' kernel with a = -0.5, half-pixel centres; weights outside the image are left out
and the others scaled to a sum of 1, as TensorFlow and JAX do.

Four source pixels make an output pixel, so each axis is a product with a sparse matrix.
It is done in blocks of neighbouring output pixels: their sources lie in one short
window, and small dense products run at full speed. No call here is per row or block,
so that threads seldom wait for each other.
"""

import functools
import threading
from dataclasses import dataclass

import numpy as np

from .crop import Box

_TAPS = np.arange(-1, 3)
_LARGEST_BLOCK = 8  # output pixels; the fastest of 4, 8 and 16


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


@functools.lru_cache(maxsize=1024)  # about 20 kB each
def _blocks(num_in: int, num_out: int) -> _Blocks:
    block = next(b for b in range(_LARGEST_BLOCK, 0, -1) if num_out % b == 0)
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
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = self._memory.get(name)
        if memory is None or memory.nbytes < size:
            memory = self._memory[name] = np.empty(size, np.uint8)
        return memory[:size].view(dtype).reshape(shape)


def resize(image: np.ndarray, box: Box, size: int, scratch: Scratch) -> np.ndarray:
    """A part of an image in `size` x `size` pixels, as columns: float32 [x, 3, y].

    image: uint8 [height, width, 3], contiguous; only the rows of the box are read.
    Values may leave 0..255. The result lies in `scratch`.
    """
    _, width, channels = image.shape
    down, across = _blocks(box.height, size), _blocks(box.width, size)
    blocks, block, window = down.weights.shape
    # Whole rows are copied fastest; the columns are chosen on the way to floats.
    rows = scratch.get("rows", (len(down.rows), width * channels), np.uint8)
    lines = image.reshape(-1, width * channels)[box.top : box.top + box.height]
    np.take(lines, down.rows, axis=0, out=rows, mode="clip")
    kept = slice(channels * box.left, channels * (box.left + box.width))
    sources = scratch.get("sources", (len(rows), channels * box.width), np.float32)
    np.copyto(sources, rows[:, kept])
    columns = scratch.get("columns", (channels * box.width, size), np.float32)
    np.matmul(
        sources.reshape(blocks, window, -1).transpose(0, 2, 1),
        down.weights.transpose(0, 2, 1),
        out=columns.reshape(-1, blocks, block).transpose(1, 0, 2),
    )
    resized = _resize_columns(columns.reshape(box.width, -1), across, scratch)
    return resized.reshape(size, channels, size)


def _resize_columns(
    columns: np.ndarray, across: _Blocks, scratch: Scratch
) -> np.ndarray:
    """columns: float32 [width, n] -> float32 [size, n]."""
    blocks, block, window = across.weights.shape
    shape = (len(across.rows), columns.shape[1])
    sources = scratch.get("sources", shape, np.float32)
    np.take(columns, across.rows, axis=0, out=sources, mode="clip")
    resized = scratch.get("resized", (blocks * block, columns.shape[1]), np.float32)
    np.matmul(
        across.weights,
        sources.reshape(blocks, window, -1),
        out=resized.reshape(blocks, block, -1),
    )
    return resized
