"""The IDX format of MNIST and Fashion-MNIST: big-endian header, unsigned bytes."""

import gzip
import math
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.errors import BadData

_MAGIC = {0x0803: "images", 0x0801: "labels"}  # unsigned bytes, 3 axes or 1 axis
_HEADER_BYTES = {"images": 16, "labels": 8}
SIDE = 28  # pixels
_MAX_COUNT = 1_000_000  # what a damaged header promises must fit into memory


def magic_of(kind: str) -> int:
    """The number that a file of `kind` ("images" or "labels") begins with."""
    return next(magic for magic, name in _MAGIC.items() if name == kind)


def read(path: Path, kind: str) -> np.ndarray:
    """The content of an IDX file, gzip-packed (`.gz`) or not.

    Returns uint8 [n, 28, 28] for "images" (0 background, 255 ink), uint8 [n] in 0..9
    for "labels". Anything else in the file is a `BadData` that names it.
    """
    count = read_count(path, kind)
    shape = (count, SIDE, SIDE) if kind == "images" else (count,)
    # One byte more than there should be, never all of a file that unpacks without end.
    content = _unpacked(path, _HEADER_BYTES[kind] + math.prod(shape) + 1)
    body = np.frombuffer(content, np.uint8, offset=_HEADER_BYTES[kind])
    if body.size != np.prod(shape):
        state = "cut off" if body.size < np.prod(shape) else "too long"
        raise BadData(
            f"{path} is {state}: its header promises {np.prod(shape):,} bytes of "
            f"{kind}, {body.size:,} or more follow. {input_files.GET_AGAIN}"
        )
    if kind == "labels" and count and body.max() > 9:
        row = int(np.argmax(body > 9))
        raise BadData(
            f"{path}: label {row:,} is {body[row]}; labels are 0 to 9. {input_files.GET_AGAIN}"
        )
    return body.reshape(shape)


def read_count(path: Path, kind: str) -> int:
    """The number of examples that the header of an IDX file promises."""
    return _checked_count(path, kind, _unpacked(path, _HEADER_BYTES[kind]))


def write(path: Path, array: np.ndarray) -> None:
    """Writes uint8 [n, 28, 28] or [n], gzip-packed; the same bytes every time."""
    kind = "images" if array.ndim == 3 else "labels"
    header = np.array([magic_of(kind), *array.shape], ">u4").tobytes()
    body = np.ascontiguousarray(array, np.uint8).tobytes()
    path.write_bytes(gzip.compress(header + body, compresslevel=9, mtime=0))


def _unpacked(path: Path, num_bytes: int) -> bytes:
    """The first `num_bytes` of a file, unpacked."""
    with input_files.opened(path) as file:
        if path.suffix != ".gz":
            return file.read(num_bytes)
        with gzip.open(file) as packed:
            return packed.read(num_bytes)


def _checked_count(path: Path, kind: str, content: bytes) -> int:
    if len(content) < _HEADER_BYTES[kind]:
        raise BadData(f"{path} is cut off in its header. {input_files.GET_AGAIN}")
    header: list[int]
    header = np.frombuffer(content[: _HEADER_BYTES[kind]], ">u4").tolist()
    magic, count, *sides = header
    if magic != magic_of(kind):
        what = f"a file of {_MAGIC[magic]}" if magic in _MAGIC else "no IDX file"
        raise BadData(
            f"{path} is {what}: it begins with {magic:#010x}, a file of {kind} with "
            f"{magic_of(kind):#010x}. Was it renamed? {input_files.GET_AGAIN}"
        )
    if count > _MAX_COUNT:
        raise BadData(
            f"{path} promises {count:,} {kind}, more than any such file has. "
            f"{input_files.GET_AGAIN}"
        )
    if sides not in ([], [SIDE, SIDE]):
        raise BadData(
            f"{path} has images of {sides[0]}x{sides[1]} pixels; {SIDE}x{SIDE} are "
            f"expected. {input_files.GET_AGAIN}"
        )
    return count
