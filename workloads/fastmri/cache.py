"""Processed slices on disk: masks are fixed, so each slice needs to be processed once.

A cache is one file with a place of constant size for each slice, filled as slices are
first needed. It needs no order and no lock: every place carries a checksum, which a
process compares when it first reads it. A place that was never written, or only partly
when a process or the machine was stopped, does not match and is processed again, and
two processes that fill the same place write the same bytes.

Places are read by `preadv` straight into the batch, from memory once the system has
the file in its page cache. Compared with a memory map, nothing is added to the memory
of the process, and a full or failing disk is an error, not a signal that kills it.
"""

import os
import warnings
import weakref
import zlib
from pathlib import Path

import numpy as np

from algoperf.download import free_bytes, readable_size

from .processing import Processed

try:
    import fcntl
except ModuleNotFoundError:  # Windows has neither locks of this kind nor preadv
    fcntl = None  # type: ignore[assignment]

_HEADER = np.dtype([("crc", "<u4"), ("mean", "<f4"), ("std", "<f4"), ("unused", "<u4")])
_SUFFIX = ".cache"
# Of its full size: what a cache leaves free for logs and checkpoints.
_SPARE = 0.1


def open_cache(
    folder: Path, split: str, key: str, num_slices: int, side: int
) -> "SliceCache | None":
    """The cache of a split in `folder`, made if need be; None, with a warning, if not.

    key: a name of everything that the processed slices depend on. Other caches of the
    split that no process has open are removed, so that a new seed takes no new space.
    """
    if fcntl is None:
        return None
    path = folder / f"{split}-{key}{_SUFFIX}"
    try:
        folder.mkdir(exist_ok=True)
        cache = SliceCache(path, num_slices, side)
    except OSError as error:
        _warn(f"{folder} cannot be written to ({error.strerror})")
        return None
    _remove_unused(folder, split, path)
    missing = max(0, cache.size_bytes - cache.used_bytes())
    needed, free = int((1 + _SPARE) * missing), free_bytes(folder)
    if needed > free:
        _warn(
            f"{folder} needs {readable_size(needed)} more, {readable_size(free)} are "
            "free"
        )
        return None
    return cache


def _warn(reason: str) -> None:
    warnings.warn(
        f"fastMRI slices are not cached: {reason}. They are processed anew in every "
        "epoch, with the same results.",
        RuntimeWarning,
        stacklevel=3,
    )


def _remove_unused(folder: Path, split: str, but: Path) -> None:
    for path in folder.glob(f"{split}-*{_SUFFIX}"):
        if path == but:
            continue
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except OSError:
            continue  # another process has it open, or has just removed it


class SliceCache:
    """One open cache file; may be used by several threads and processes at once."""

    def __init__(self, path: Path, num_slices: int, side: int) -> None:
        self._record = _HEADER.itemsize + 2 * side * side * np.float32().itemsize
        self._is_checked = np.zeros(num_slices, bool)
        self._is_writable = True
        self.size_bytes = num_slices * self._record
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        weakref.finalize(self, os.close, self._file)
        fcntl.flock(self._file, fcntl.LOCK_SH)  # says that it is in use

    def used_bytes(self) -> int:
        """What is taken on the disk so far."""
        return 512 * os.fstat(self._file).st_blocks

    def load(
        self, index: int, inputs: np.ndarray, targets: np.ndarray
    ) -> tuple[np.float32, np.float32] | None:
        """Fills `inputs` and `targets`, float32 [side, side]; returns mean and std.

        None if the slice is not there, or damaged: the arrays then hold anything.
        """
        header = np.zeros(1, _HEADER)
        buffers = [header.data, inputs.data, targets.data]
        count = os.preadv(self._file, buffers, index * self._record)
        if count != self._record or not header["crc"][0]:
            return None
        if not self._is_checked[index]:
            if _checksum(header, inputs, targets) != header["crc"][0]:
                return None
            self._is_checked[index] = True
        return header["mean"][0], header["std"][0]

    def store(self, index: int, processed: Processed) -> None:
        """Keeps a slice; after an error (a full disk), with a warning, none any more."""
        if not self._is_writable:
            return
        header = np.zeros(1, _HEADER)
        header["mean"], header["std"] = processed.mean, processed.std
        header["crc"] = _checksum(header, processed.inputs, processed.targets)
        buffers = [header.data, processed.inputs.data, processed.targets.data]
        try:
            os.pwritev(self._file, buffers, index * self._record)
        except OSError as error:
            self._is_writable = False
            _warn(f"a slice could not be written ({error.strerror})")


def _checksum(header: np.ndarray, *images: np.ndarray) -> int:
    """CRC-32 of all but itself."""
    crc = zlib.crc32(header["mean"].tobytes() + header["std"].tobytes())
    for image in images:
        crc = zlib.crc32(image.data, crc)
    return crc
