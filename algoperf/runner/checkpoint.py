"""Checkpoints: written whole or not at all, checked when read.

`ckpt-<step>/` holds `arrays.safetensors` and `meta.json` (the rest of the state, the run's
identity, and the checksum of the arrays). It is written into a hidden folder, synced and renamed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.errors import BadCheckpoint

FOLDER = "checkpoints"
_ARRAYS = "arrays.safetensors"
_META = "meta.json"
_PREFIX = "ckpt-"
_TEMPORARY = ".writing-"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a trial after a step."""

    step: int
    arrays: Mapping[str, np.ndarray]
    rest: Mapping[str, Any]  # JSON: state that is not an array, and the harness's own
    identity: Mapping[str, Any]  # JSON: what must be equal for a run to go on from it


def save(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> Path:
    """Writes `ckpt-<step>` atomically and removes all but the newest `keep`."""
    from safetensors.numpy import save_file  # installed with either framework

    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{_TEMPORARY}{checkpoint.step}"
    final = folder / f"{_PREFIX}{checkpoint.step}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    raw = {name: _as_storable(array) for name, array in checkpoint.arrays.items()}
    try:
        save_file(raw, temporary / _ARRAYS)
        meta = {
            "step": checkpoint.step,
            "identity": checkpoint.identity,
            "rest": checkpoint.rest,
            "dtypes": {n: str(a.dtype) for n, a in checkpoint.arrays.items()},
            "sha256": _sha256(temporary / _ARRAYS),
        }
        (temporary / _META).write_text(json.dumps(meta))
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise BadCheckpoint(
            f"Could not write {final}: {error.strerror or error}. Earlier checkpoints are intact; "
            "free some space and go on with --resume."
        ) from error
    for path in (temporary / _ARRAYS, temporary / _META, temporary):
        _sync(path)
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    _sync(folder)
    for old in _steps(folder)[:-keep]:
        shutil.rmtree(folder / f"{_PREFIX}{old}")
    return final


def load_latest(
    folder: Path, identity: Mapping[str, Any], warn: Callable[[str], None]
) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None if there is none.

    A damaged one is passed over with a warning; one of another run (other code, framework,
    ruleset …) is refused with `BadCheckpoint`.
    """
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(leftover)
    for step in reversed(_steps(folder)):
        path = folder / f"{_PREFIX}{step}"
        try:
            checkpoint = _load(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            warn(
                f"Checkpoint {path} is damaged ({error}); going back to the one before."
            )
            continue
        _check_identity(checkpoint, identity, path)
        return checkpoint
    return None


def _load(path: Path) -> Checkpoint:
    from safetensors.numpy import load_file

    meta = json.loads((path / _META).read_text())
    if _sha256(path / _ARRAYS) != meta["sha256"]:
        raise ValueError("the checksum of its arrays differs")
    arrays = {
        name: _from_storable(array, meta["dtypes"][name])
        for name, array in load_file(path / _ARRAYS).items()
    }
    return Checkpoint(int(meta["step"]), arrays, meta["rest"], meta["identity"])


def _check_identity(
    checkpoint: Checkpoint, identity: Mapping[str, Any], path: Path
) -> None:
    saved = checkpoint.identity
    for key in sorted(set(saved) | set(identity)):
        if saved.get(key) != identity.get(key):
            raise BadCheckpoint(
                f"{path} belongs to another run: its {key} is {saved.get(key)!r}, this run's "
                f"is {identity.get(key)!r}. Start anew with --overwrite or in another folder."
            )


def _steps(folder: Path) -> list[int]:
    names = (path.name.removeprefix(_PREFIX) for path in folder.glob(f"{_PREFIX}*"))
    return sorted(int(name) for name in names if name.isdigit())


def _as_storable(array: np.ndarray) -> np.ndarray:
    """Types that numpy itself lacks (bfloat16 …) are stored as their bytes."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind in "biufc" and array.dtype.isbuiltin == 1:
        return array
    shape = array.shape
    return array.reshape(-1).view(np.uint8).reshape(*shape, array.dtype.itemsize)


def _from_storable(array: np.ndarray, dtype: str) -> np.ndarray:
    if str(array.dtype) == dtype:
        return array
    import ml_dtypes  # installed with either framework

    kind = np.dtype(getattr(ml_dtypes, dtype))
    return np.ascontiguousarray(array).reshape(-1).view(kind).reshape(array.shape[:-1])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
