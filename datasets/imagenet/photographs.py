"""The shipped photographs, cut into pieces that stand for ImageNet in its official layout.

Each photograph is a class. Its left 70 % gives training pieces, the upper half of the
rest validation pieces, the lower half test pieces: no pixel is in two splits.
"""

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.errors import MissingDependency

from . import archives

# Pieces of each class.
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 160, 25, 25
_SEED = 20262
_TRAIN_SHARE = 0.7  # of the width
_SIDES = (0.5, 0.95)  # of a piece, as shares of its area's shorter side, at most …
_LARGEST_SIDE = 160  # … so many pixels
_SHORT_SIDES = (48, 72)  # of a written piece, pixels
_QUALITY = 88
_EMBEDDED = Path(__file__).parent / "embedded"


def sources() -> list[Path]:
    """The photographs in the order of their classes."""
    return sorted(_EMBEDDED.glob("*.jpg"))


def class_name(number: int) -> str:
    """A name like ImageNet's, of none of its classes."""
    return f"n{90_000_000 + number:08d}"


def areas(width: int, height: int) -> dict[str, tuple[int, int, int, int]]:
    """Left, top, right and bottom of each split's part of a photograph."""
    border, middle = round(_TRAIN_SHARE * width), height // 2
    return {
        "train": (0, 0, border, height),
        "validation": (border, 0, width, middle),
        "test": (border, middle, width, height),
    }


def piece_box(
    area: tuple[int, int, int, int], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A random rectangle in an area, of an aspect ratio from 3/4 to 4/3."""
    left, top, right, bottom = area
    side = rng.uniform(*_SIDES) * min(right - left, bottom - top, _LARGEST_SIDE)
    stretch = np.sqrt(rng.uniform(3 / 4, 4 / 3))
    width = min(round(side * stretch), right - left)
    height = min(round(side / stretch), bottom - top)
    x = left + int(rng.integers(right - left - width + 1))
    y = top + int(rng.integers(bottom - top - height + 1))
    return x, y, x + width, y + height


def expand(raw: Path) -> None:
    """Writes the tar files and the labels; the same bytes with the same Pillow."""
    raw.mkdir(parents=True, exist_ok=True)
    pieces = [_pieces(number, path) for number, path in enumerate(sources())]
    classes = []
    for number, of_class in enumerate(pieces):
        name = class_name(number)
        files = [(f"{name}_{i}.JPEG", p) for i, p in enumerate(of_class["train"])]
        classes.append((f"{name}.tar", _tar(files)))
    (raw / archives.TRAIN).write_bytes(_tar(classes))
    validation = [
        (class_name(number), piece)
        for number, of_class in enumerate(pieces)
        for piece in of_class["validation"]
    ]
    rng = np.random.Generator(np.random.Philox(_SEED))
    validation = [validation[i] for i in rng.permutation(len(validation))]
    files = [
        (f"ILSVRC2012_val_{i:08d}.JPEG", piece)
        for i, (_, piece) in enumerate(validation, 1)
    ]
    (raw / archives.VALIDATION).write_bytes(_tar(files))
    (raw / archives.SYNSETS).write_text("".join(f"{name}\n" for name, _ in validation))
    test = [
        (f"{archives.TEST_FOLDER}/{number}/{i:04d}.jpeg", piece)
        for number, of_class in enumerate(pieces)
        for i, piece in enumerate(of_class["test"])
    ]
    packed = gzip.compress(_tar(test), compresslevel=1, mtime=0)
    (raw / archives.TEST).write_bytes(packed)


def _pieces(number: int, path: Path) -> dict[str, list[bytes]]:
    """The pieces of one photograph by split, as JPEG files."""
    numbers = {"train": NUM_TRAIN, "validation": NUM_VALIDATION, "test": NUM_TEST}
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((_SEED, number))))
    with _pillow().open(path) as photograph:
        photograph.load()
        parts = areas(*photograph.size)
        return {
            split: [_piece(photograph, parts[split], rng) for _ in range(count)]
            for split, count in numbers.items()
        }


def _piece(
    photograph: Any, area: tuple[int, int, int, int], rng: np.random.Generator
) -> bytes:
    box = piece_box(area, rng)
    width, height = box[2] - box[0], box[3] - box[1]
    scale = int(rng.integers(_SHORT_SIDES[0], _SHORT_SIDES[1] + 1)) / min(width, height)
    size = (round(width * scale), round(height * scale))
    written = io.BytesIO()
    piece = photograph.resize(size, _pillow().Resampling.BICUBIC, box)
    piece.save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()


def _tar(files: list[tuple[str, bytes]]) -> bytes:
    """A tar file with nothing in it that differs from run to run."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise MissingDependency(
            "The shipped photographs are cut with the package Pillow, which is not "
            'installed. Run `pip install "algoperf[data]"`.'
        ) from None
    return Image
