"""JPEG files: what their header says, and their pixels.

Decoded with simplejpeg, or with Pillow where that is missing: both are built on
libjpeg-turbo with the same settings, so the pixels are the same.
"""

import functools
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from algoperf.errors import MissingDependency

_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
# SOF0 to SOF15 begin a frame, but for DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = frozenset((0xC0, 0xC1))
# Smooth upsampling of colours looks one colour sample, at most 4 rows, below a row.
_MARGIN_ROWS = 8
_REENCODED_QUALITY = 95

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
            while content[at] == 0xFF and content[at + 1] == 0xFF:  # fill bytes
                at += 1
            if content[at] != 0xFF:
                raise ValueError("its JPEG header is damaged")
            kind = content[at + 1]
            if kind in _FRAMES:
                return _read_frame(content, kind, at + 4)
            if kind == _START_OF_SCAN:
                raise ValueError("its JPEG header is damaged")
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    except IndexError:
        raise ValueError("it is cut off in its JPEG header") from None


def _read_frame(content: bytes, kind: int, at: int) -> Header:
    height = int.from_bytes(content[at + 1 : at + 3], "big")
    width = int.from_bytes(content[at + 3 : at + 5], "big")
    num_components = content[at + 5]
    if not height or not width:
        raise ValueError("its JPEG header says that it has no pixels")
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
        return decode_with_simplejpeg
    return decode_with_pillow


def decode_with_simplejpeg(content: bytes, buffer: Any = None) -> np.ndarray:
    """uint8 [height, width, 3]; `ValueError` if it cannot be decoded."""
    import simplejpeg

    # Not strict: some files of ImageNet have stray bytes that all decoders pass over.
    pixels: np.ndarray = simplejpeg.decode_jpeg(
        content, colorspace="RGB", buffer=buffer, strict=False
    )
    return pixels


def decode_with_pillow(content: bytes, buffer: Any = None) -> np.ndarray:
    """uint8 [height, width, 3]; `ValueError` if it cannot be decoded."""
    del buffer
    try:
        with _pillow().open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise ValueError(str(error)) from error


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
    try:
        with _pillow().open(io.BytesIO(content)) as image:
            written = io.BytesIO()
            image.convert("RGB").save(
                written, "JPEG", quality=_REENCODED_QUALITY, subsampling=0
            )
    except (OSError, SyntaxError) as error:
        raise ValueError(str(error)) from error
    return written.getvalue()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise MissingDependency(
            "Images are read with the packages simplejpeg and Pillow, which are not "
            'installed. Run `pip install "algoperf[data]"`.'
        ) from None
    return Image
