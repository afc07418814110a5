"""SVHN's official files: MATLAB tables of images and labels, where a 0 has the label 10."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from algoperf import input_files, packages
from algoperf.datasets._images.stored import LabelledImages
from algoperf.datasets._images.writing import Official, RawFile
from algoperf.errors import BadData

SIDE = 32  # pixels
IMAGE_BYTES = 3 * SIDE * SIDE
NAMES: Mapping[RawFile, str] = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
_ZERO = 10  # the label of the digit 0


@dataclass(frozen=True)
class MatlabFiles:
    """Two files in a folder. raw_help: where to get them."""

    folder: Path
    official: Official
    raw_help: str

    def sizes(self) -> dict[str, int]:
        """Names of the raw files and their sizes in bytes."""
        return {name: self.shown(file).stat().st_size for file, name in NAMES.items()}

    def shown(self, file: RawFile) -> Path:
        """The path of a raw file."""
        input_files.check_raw_folder(self.folder, self.raw_help)
        path = self.folder / NAMES[file]
        if input_files.is_file(path):
            return path
        raise input_files.not_found(
            self.folder,
            f"no file {path.name}",
            self.raw_help,
            name=path.name,
            expected=set(NAMES.values()),
        )

    def count(self, file: RawFile) -> int:
        """Number of images, from the header of the table."""
        path = self.shown(file)
        shapes = {name: shape for name, shape, _ in _load(path, "whosmat")}
        self._check_shapes(path, shapes)
        return int(shapes["X"][-1])

    def read(self, file: RawFile) -> LabelledImages:
        """Images uint8 [n, 32, 32, 3] and labels uint8 [n]."""
        path = self.shown(file)
        tables = _load(path, "loadmat", variable_names=("X", "y"))
        arrays = {name: tables[name] for name in ("X", "y") if name in tables}
        self._check_shapes(path, {name: a.shape for name, a in arrays.items()})
        pixels, labels = arrays["X"], np.ravel(arrays["y"])
        if pixels.dtype != np.uint8:
            raise BadData(
                f"{path}: the values of X are {pixels.dtype}, not bytes. "
                f"{input_files.GET_AGAIN}"
            )
        wrong = np.flatnonzero(~np.isin(labels, np.arange(1, _ZERO + 1)))
        if len(wrong):
            raise BadData(
                f"{path}: label {wrong[0]:,} is {labels[wrong[0]]}; labels are 1 to "
                f"{_ZERO}. {input_files.GET_AGAIN}"
            )
        images = np.ascontiguousarray(pixels.transpose(3, 0, 1, 2))
        return LabelledImages(images, (labels % _ZERO).astype(np.uint8))

    def _check_shapes(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
        images, labels = shapes.get("X", ()), shapes.get("y", ())
        count = images[-1] if len(images) == 4 else None
        if images != (SIDE, SIDE, 3, count) or labels not in ((count, 1), (1, count)):
            raise BadData(
                f"{path} has {dict(shapes)}; X of ({SIDE}, {SIDE}, 3, n) and y of (n, 1) "
                f"are expected: cropped digits, format 2. {input_files.GET_AGAIN}"
            )


def write(path: Path, images: LabelledImages) -> None:
    """Writes images in the official layout."""
    labels = np.where(images.labels == 0, _ZERO, images.labels).astype(np.uint8)
    tables = {"X": images.images.transpose(1, 2, 3, 0), "y": labels[:, np.newaxis]}
    packages.load("scipy.io", f"Writing {path.name}").savemat(path, tables)


def _load(path: Path, function: str, **options: Any) -> Any:
    """Calls a function of scipy.io that reads `path`."""
    scipy_io = packages.load("scipy.io", f"Reading {path.name}")
    read: Callable[..., Any] = getattr(scipy_io, function)
    with input_files.opened(path) as file:
        return _read(path, file, read, options)


def _read(
    path: Path, file: BinaryIO, read: Callable[..., Any], options: Mapping[str, Any]
) -> Any:
    try:
        return read(file, **options)
    except Exception as error:  # scipy raises anything for damaged files
        raise BadData(
            f"{path} is cut off, damaged or no MATLAB file "
            f"({input_files.in_one_line(error)}). {input_files.GET_AGAIN}"
        ) from error
