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

from algoperf.errors import BadData, MissingDependency

_KSPACE, _TARGET, _MAX = "kspace", "reconstruction_esc", "max"
_REMEDY = "Delete it and get the official file again."


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
    with _opened(path) as file:
        missing = [name for name in (_KSPACE, _TARGET) if name not in file]
        if missing:
            raise BadData(
                f"{path} has no {' and no '.join(missing)}; it has: "
                f"{', '.join(sorted(file)) or 'nothing'}. Files of the official test "
                f"folder are not used. {_REMEDY}"
            )
        _check_dtypes(path, file)
        kspace, target = file[_KSPACE].shape, file[_TARGET].shape
        _check_shapes(path, kspace, target)
        maximum = _maximum(path, file)
    return Volume(path, kspace[0], kspace[2], target[2], maximum)


def _check_dtypes(path: Path, file: Any) -> None:
    for name, dtype in ((_KSPACE, np.complex64), (_TARGET, np.float32)):
        if file[name].dtype != dtype:
            raise BadData(
                f"{path}: {name} is {file[name].dtype}, not {np.dtype(dtype)}. "
                f"{_REMEDY}"
            )


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
            f"in the official files). {_REMEDY}"
        )


def _maximum(path: Path, file: Any) -> float:
    """The attribute; the published benchmark reads 0 where it is missing.

    The metric would then be silently wrong for this volume.
    """
    if _MAX not in file.attrs:
        raise BadData(
            f"{path} has no attribute {_MAX!r} (the volume's largest value), which the "
            f"metric needs. {_REMEDY}"
        )
    maximum = float(file.attrs[_MAX])
    if not (np.isfinite(maximum) and maximum > 0):
        raise BadData(
            f"{path}: the attribute {_MAX!r} is {maximum}; a positive number is "
            f"expected. {_REMEDY}"
        )
    return maximum


def read_slices(volume: Volume) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """k-space complex64 [2 * side, columns] and target float32 [side, side] of each."""
    with _opened(volume.path) as file:
        for index in range(volume.num_slices):
            kspace, target = file[_KSPACE][index], file[_TARGET][index]
            for name, array in ((_KSPACE, kspace), (_TARGET, target)):
                if not np.isfinite(array).all():
                    raise BadData(
                        f"{volume.path}, slice {index}: {name} is not finite. {_REMEDY}"
                    )
            if not kspace.any():
                raise BadData(
                    f"{volume.path}, slice {index}: {_KSPACE} is zero everywhere; a "
                    f"constant image cannot be normalised. {_REMEDY}"
                )
            yield kspace, target


def write(path: Path, kspace: np.ndarray, target: np.ndarray) -> None:
    """Writes a volume in the official layout; shapes and dtypes as of `read_header`."""
    with _h5py().File(path, "w") as file:
        file[_KSPACE], file[_TARGET] = kspace, target
        file.attrs[_MAX] = target.max()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with _h5py().File(path, "r") as file:
            yield file
    except OSError as error:
        raise BadData(
            f"{path} cannot be read as HDF5 ({error}): it is cut off, damaged or "
            f"another kind of file. {_REMEDY}"
        ) from error


def _h5py() -> Any:
    """Imported late: only preparation needs it."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise MissingDependency(
            "Preparing fastmri needs the package 'h5py', which is not installed. "
            "Install it: pip install 'algoperf[data]'."
        ) from None
    return h5py
