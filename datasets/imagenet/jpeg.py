"""JPEG files: what their header says, and their pixels.

Decoded with simplejpeg and the fast DCT, as TensorFlow does by default: the targets were
set with these very pixels. Pillow, which serves where simplejpeg is missing or fails, has
the accurate DCT only: its pixels differ by 0.8 of 255 on average.
"""

import contextlib
import functools
import importlib.util
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from algoperf import input_files, packages

_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
# SOF0 to SOF15 begin a frame, but for DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset((0xC0, 0xC1))
# Smooth upsampling of colours looks one colour sample, at most 4 rows, below a row.
_MARGIN_ROWS = 8
_REENCODED_QUALITY = 95

# As many as Pillow decodes; the largest image of ILSVRC2012 has a third of them.
_MAX_PIXELS = 178_956_970
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD8)))
_ENDS = (0xD8, 0xD9)  # of the image: there is no segment

Bytes = bytes | bytearray
Decode = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Header:
    """What a JPEG file says of itself."""

    height: int
    width: int
    num_components: int  # 1 grey, 3 colour, 4 CMYK
    is_sequential: bool  # one pass from top to bottom; else progressive or rarer
    frame: int  # where the frame segment's content begins, in bytes


def read_header(content: bytes) -> Header:
    """The header of a JPEG file; `ValueError` if it has none."""
    if content[:2] != _START_OF_IMAGE:
        raise ValueError("it does not begin like a JPEG file")
    at = 2
    try:
        while True:
            at, kind = _next_marker(content, at)
            if kind in _FRAMES:
                return _read_frame(content, kind, at + 4)
            at = _end_of_segment(content, at, kind)
    except IndexError:
        raise ValueError("it is cut off in its JPEG header") from None


def _next_marker(content: Bytes, at: int) -> tuple[int, int]:
    """Where the next marker of the header is, and its second byte.

    Fill bytes, and stray bytes between the segments, are passed over, as by all decoders.
    """
    while True:
        if content[at] != 0xFF:
            at = content.find(b"\xff", at)
            if at < 0:
                raise ValueError("its JPEG header is damaged")
        kind = content[at + 1]
        if kind not in (0x00, 0xFF):
            return at, kind
        at += 1 if kind else 2


def _end_of_segment(content: Bytes, at: int, kind: int) -> int:
    """Where the segment ends whose marker is at `at`."""
    if kind in _WITHOUT_LENGTH:
        return at + 2
    length = int.from_bytes(content[at + 2 : at + 4], "big")
    if kind in (_START_OF_SCAN, *_ENDS) or length < 2:
        raise ValueError("its JPEG header is damaged")
    return at + 2 + length


def without_stray_bytes(content: Bytes) -> bytes:
    """The file without what stands between the segments of its header."""
    kept, at = [content[:2]], 2
    try:
        while True:
            at, kind = _next_marker(content, at)
            if kind == _START_OF_SCAN:
                return b"".join((*kept, content[at:]))
            end = _end_of_segment(content, at, kind)
            kept.append(content[at:end])
            at = end
    except IndexError:
        raise ValueError("it is cut off in its JPEG header") from None


def _read_frame(content: bytes, kind: int, at: int) -> Header:
    height = int.from_bytes(content[at + 1 : at + 3], "big")
    width = int.from_bytes(content[at + 3 : at + 5], "big")
    num_components = content[at + 5]
    if not height or not width:
        raise ValueError("its JPEG header says that it has no pixels")
    if height * width > _MAX_PIXELS:
        raise ValueError(f"its JPEG header says that it has {height}x{width} pixels")
    return Header(height, width, num_components, kind in _SEQUENTIAL, at)


def decode_rows(
    content: bytes, header: Header, num_rows: int, buffer: Any = None
) -> np.ndarray:
    """The first rows of an image: uint8 [at least num_rows, width, 3], RGB.

    Rows below are not decoded where they need not be: a file of one pass is made to
    look lower. The pixels are those of the whole image. buffer: writable memory for the
    pixels, at least height * width * 3 bytes; what is returned may lie in it.
    `ValueError` if the file cannot be decoded.
    """
    kept = num_rows + _MARGIN_ROWS
    if header.is_sequential and kept < header.height:
        lower = bytearray(content)
        lower[header.frame + 1 : header.frame + 3] = kept.to_bytes(2, "big")
        return _decoder()(lower, buffer)
    return _decoder()(content, buffer)


def decode(content: bytes) -> np.ndarray:
    """All pixels of a JPEG file: uint8 [height, width, 3], RGB."""
    return _decoder()(content, None)


@functools.lru_cache(maxsize=1)
def _decoder() -> Decode:
    """The fastest decoder that is installed."""
    if importlib.util.find_spec("simplejpeg"):
        return _decode_with_either
    return decode_with_pillow


def _decode_with_either(content: Bytes, buffer: Any = None) -> np.ndarray:
    """With simplejpeg, or with Pillow what that refuses."""
    try:
        return decode_with_simplejpeg(content, buffer)
    except ValueError:
        if not importlib.util.find_spec("PIL"):
            raise
        return decode_with_pillow(content)


def decode_with_simplejpeg(content: Bytes, buffer: Any = None) -> np.ndarray:
    """uint8 [height, width, 3]; `ValueError` if it cannot be decoded."""
    import simplejpeg

    def decode(content: Bytes) -> np.ndarray:
        # Not strict: some files of ImageNet have stray bytes that all decoders pass over.
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            content, colorspace="RGB", fastdct=True, buffer=buffer, strict=False
        )
        return pixels

    try:
        return decode(content)
    except ValueError:
        # In the header it does not pass over them.
        cleaned = without_stray_bytes(content)
        if len(cleaned) == len(content):
            raise
    return decode(cleaned)


def decode_with_pillow(content: Bytes, buffer: Any = None) -> np.ndarray:
    """uint8 [height, width, 3]; `ValueError` if it cannot be decoded."""
    del buffer
    with _opened_with_pillow(content) as image:
        return np.asarray(image.convert("RGB"))


@contextlib.contextmanager
def _opened_with_pillow(content: Bytes) -> Iterator[Any]:
    """The image; what goes wrong in the body is a `ValueError`."""
    pillow = packages.load("PIL.Image", "Decoding images")
    try:
        with pillow.open(io.BytesIO(content)) as image:
            yield image
    except Exception as error:  # Pillow raises anything for damaged files
        raise ValueError(input_files.in_one_line(error)) from error


def as_rgb_jpeg(content: bytes) -> bytes:
    """The file itself if it is a grey or colour JPEG file, else one made of its pixels.

    ILSVRC2012 has a PNG file and some CMYK files among its JPEG files. `ValueError` for
    what is no image, or is cut off.
    """
    if content[:2] == _START_OF_IMAGE:
        header = read_header(content)
        if header.num_components in (1, 3):
            # The end is seldom elsewhere; then the whole file must be decodable.
            if _END_OF_IMAGE not in content[-64:]:
                decode_with_pillow(content)
            return content
    with _opened_with_pillow(content) as image:
        written = io.BytesIO()
        image.convert("RGB").save(
            written, "JPEG", quality=_REENCODED_QUALITY, subsampling=0
        )
    return written.getvalue()
