"""The HDF5 files of the official layout: one volume each. Only preparation reads them.

`kspace` complex64 [slices, 2 * side, columns], `reconstruction_esc` float32 [slices,
side, side], and the attribute `max`, the volume's largest reconstructed value. The
official side is 320.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf import input_files, packages
from algoperf.errors import BadData
from algoperf.input_files import GET_AGAIN, in_one_line

_KSPACE, _TARGET, _MAX = "kspace", "reconstruction_esc", "max"
# What h5py raises, depending on what is damaged.
_ERRORS = (
    OSError,
    KeyError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    MemoryError,
)


@dataclass(frozen=True)
class Volume:
    """What a file says of itself before its arrays are read."""

    path: Path
    num_slices: int
    num_columns: int
    side: int
    maximum: float


def read_header(path: Path) -> Volume:
    """The sizes of a volume; `BadData` if the file is not in the official layout."""
    with _opened(path) as file, _reading(f"{path} is damaged"):
        names = sorted(file)
        missing = [name for name in (_KSPACE, _TARGET) if name not in names]
        if missing:
            raise BadData(
                f"{path} has no {' and no '.join(missing)}; it has: "
                f"{', '.join(names) or 'nothing'}. Files of the official test "
                f"folder are not used. {GET_AGAIN}"
            )
        kspace = _dataset(path, file, _KSPACE, np.complex64).shape
        target = _dataset(path, file, _TARGET, np.float32).shape
        _check_shapes(path, kspace, target)
        maximum = _maximum(path, file)
    return Volume(path, kspace[0], kspace[2], target[2], maximum)


def _dataset(path: Path, file: Any, name: str, dtype: type) -> Any:
    """The HDF5 dataset `name`, of which nothing is read yet."""
    h5py = _h5py()
    what = f"{path}: {name} is damaged"
    with _reading(what):
        link = file.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
        place = f"its {link.path}"
        if isinstance(link, h5py.ExternalLink):
            place = f"{path.parent / link.filename}, {place}"
        what = f"{path}: {name} is a link to {place}, which cannot be opened"
    with _reading(what):
        dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise BadData(f"{path}: {name} is a group, not an array. {GET_AGAIN}")
    if dataset.dtype != dtype:
        raise BadData(
            f"{path}: {name} is {dataset.dtype}, not {np.dtype(dtype)}. {GET_AGAIN}"
        )
    if dataset.shape is None:
        raise BadData(f"{path}: {name} is empty. {GET_AGAIN}")
    return dataset


def _check_shapes(path: Path, kspace: tuple[int, ...], target: tuple[int, ...]) -> None:
    side = target[-1] if target else 0
    fits = (
        len(kspace) == 3
        and target == (kspace[0], side, side)
        and kspace[0] > 0
        and kspace[1] == 2 * side
        and kspace[2] >= side
    )
    if not fits:
        raise BadData(
            f"{path}: {_KSPACE} has shape {kspace} and {_TARGET} {target}; [slices, "
            "2 * side, at least side] and [slices, side, side] are expected (side 320 "
            f"in the official files). {GET_AGAIN}"
        )


def _maximum(path: Path, file: Any) -> float:
    """The attribute; the published benchmark reads 0 where it is missing.

    The metric would then be silently wrong for this volume.
    """
    if _MAX not in file.attrs:
        raise BadData(
            f"{path} has no attribute {_MAX!r} (the volume's largest value), which the "
            f"metric needs. {GET_AGAIN}"
        )
    with _reading(f"{path}: the attribute {_MAX!r} is damaged"):
        found = np.asarray(file.attrs[_MAX])
    is_number = found.size == 1 and found.dtype.kind in "fiu"
    # Some tools write a number as an array of one.
    if not is_number or not (np.isfinite(found.item()) and found.item() > 0):
        shown = found.item() if found.size == 1 else f"an array of {found.shape}"
        raise BadData(
            f"{path}: the attribute {_MAX!r} is {shown}; a positive number is "
            f"expected. {GET_AGAIN}"
        )
    return float(found.item())


def read_slices(volume: Volume) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """k-space complex64 [2 * side, columns] and target float32 [side, side] of each."""
    path = volume.path
    with _opened(path) as file:
        with _reading(f"{path} is damaged"):
            kspaces = _dataset(path, file, _KSPACE, np.complex64)
            targets = _dataset(path, file, _TARGET, np.float32)
        for index in range(volume.num_slices):
            kspace = _slice(path, kspaces, _KSPACE, index)
            target = _slice(path, targets, _TARGET, index)
            if not kspace.any():
                raise BadData(
                    f"{path}, slice {index}: {_KSPACE} is zero everywhere; a "
                    f"constant image cannot be normalised. {GET_AGAIN}"
                )
            yield kspace, target


def _slice(path: Path, dataset: Any, name: str, index: int) -> np.ndarray:
    with _reading(f"{path}, slice {index}: {name} cannot be read"):
        array: np.ndarray = dataset[index]
    if not np.isfinite(array).all():
        raise BadData(f"{path}, slice {index}: {name} is not finite. {GET_AGAIN}")
    return array


def write(path: Path, kspace: np.ndarray, target: np.ndarray) -> None:
    """Writes a volume in the official layout; shapes and dtypes as of `read_header`."""
    with _h5py().File(path, "w") as file:
        file[_KSPACE], file[_TARGET] = kspace, target
        file.attrs[_MAX] = target.max()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with input_files.opened(path):
        pass  # names what the system does not allow better than HDF5 does
    what = "is cut off, damaged or another kind of file"
    with _reading(f"{path} cannot be read as HDF5 and {what}"):
        file = _h5py().File(path, "r")
    with file:
        yield file


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turns h5py's errors in the body into a `BadData`; what: subject and verb of it."""
    try:
        yield
    except _ERRORS as error:
        raise BadData(f"{what} ({in_one_line(error)}). {GET_AGAIN}") from error


def _h5py() -> Any:
    """Imported late: only preparation needs it."""
    return packages.load("h5py", "Preparing fastmri")
