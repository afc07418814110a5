"""The shipped photographs, cut into pieces that stand for ImageNet in its official layout.

Each photograph is a class. It is divided into 4 x 4 fields, and each field belongs to one
split, in diagonals: no pixel is in two splits, and each split has fields all over the
photograph. A piece lies within a field.
"""

import gzip
import io
import itertools
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from algoperf import packages

from . import archives

# Pieces of each class.
NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 160, 64, 64
_SEED = 20262
_FIELDS = 4  # along each side
# Of the diagonals, in the order of (row + column) % 4: half of all fields train.
_DIAGONALS = ("train", "validation", "train", "test")
_SIDES = (0.5, 0.95)  # of a piece, as shares of its field's shorter side
_SHORT_SIDES = (48, 72)  # of a written piece, pixels
_QUALITY = 88
_EMBEDDED = Path(__file__).parent / "embedded"


class Field(NamedTuple):
    """A rectangle of a photograph, in pixels."""

    left: int
    top: int
    right: int
    bottom: int


def sources() -> list[Path]:
    """The photographs in the order of their classes."""
    return sorted(_EMBEDDED.glob("*.jpg"))


def class_name(number: int) -> str:
    """A name like ImageNet's, of none of its classes."""
    return f"n{90_000_000 + number:08d}"


def fields(width: int, height: int) -> dict[str, list[Field]]:
    """The fields of a photograph that belong to each split."""
    found: dict[str, list[Field]] = {split: [] for split in _DIAGONALS}
    for row, column in itertools.product(range(_FIELDS), repeat=2):
        left, right = (width * i // _FIELDS for i in (column, column + 1))
        top, bottom = (height * i // _FIELDS for i in (row, row + 1))
        split = _DIAGONALS[(row + column) % len(_DIAGONALS)]
        found[split].append(Field(left, top, right, bottom))
    return found


def piece_box(field: Field, rng: np.random.Generator) -> Field:
    """A random rectangle in a field, of an aspect ratio from 3/4 to 4/3."""
    left, top, right, bottom = field
    side = rng.uniform(*_SIDES) * min(right - left, bottom - top)
    stretch = np.sqrt(rng.uniform(3 / 4, 4 / 3))
    width = min(round(side * stretch), right - left)
    height = min(round(side / stretch), bottom - top)
    x = left + int(rng.integers(right - left - width + 1))
    y = top + int(rng.integers(bottom - top - height + 1))
    return Field(x, y, x + width, y + height)


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
        of_split = fields(*photograph.size)
        return {
            split: [
                _piece(photograph, field, rng)
                for field in itertools.islice(itertools.cycle(of_split[split]), count)
            ]
            for split, count in numbers.items()
        }


def _piece(photograph: Any, field: Field, rng: np.random.Generator) -> bytes:
    box = piece_box(field, rng)
    width, height = box.right - box.left, box.bottom - box.top
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
    return packages.load("PIL.Image", "Cutting the shipped photographs")
