"""Checkpoints: written whole or not at all, checked when read.

`ckpt-<step>/` holds `arrays.safetensors` and `meta.json` (the rest of the state, the run's
identity, and checksums of both files). It is written into a hidden folder, synced and renamed.
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
FORMAT = 2  # 1: without the structure of states
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
    path: Path | None = None  # where it was read


def save(folder: Path, checkpoint: Checkpoint, *, keep: int = 2) -> Path:
    """Writes `ckpt-<step>` atomically and removes all but the newest `keep`."""
    from safetensors import SafetensorError  # installed with either framework

    temporary = folder / f"{_TEMPORARY}{checkpoint.step}"
    final = folder / f"{_PREFIX}{checkpoint.step}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        _write(temporary, checkpoint)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise BadCheckpoint(
            f"Could not write {final}: {error}. Earlier checkpoints are intact; "
            "free some space and go on with --resume."
        ) from error
    # Those of later steps were passed over as damaged; they must not displace this one.
    steps = _steps(folder)
    kept = [step for step in steps if step <= checkpoint.step][-keep:]
    for step in set(steps) - set(kept):
        shutil.rmtree(folder / f"{_PREFIX}{step}", ignore_errors=True)
    return final


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    from safetensors.numpy import save_file

    arrays, meta = folder / _ARRAYS, folder / _META
    stored = {n: _as_storable(a) for n, a in checkpoint.arrays.items()}
    save_file(stored, arrays)
    state = {
        "format": FORMAT,
        "step": checkpoint.step,
        "identity": checkpoint.identity,
        "rest": checkpoint.rest,
        "dtypes": {n: str(a.dtype) for n, a in checkpoint.arrays.items()},
        "sha256": _sha256_as_written(arrays, stored),
    }
    meta.write_text(json.dumps({"sha256": _sha256_of_json(state), "state": state}))
    for path in (arrays, meta, folder):
        _sync(path)


def load_latest(
    folder: Path, identity: Mapping[str, Any], warn: Callable[[str], None]
) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None if there is none.

    A damaged one is passed over with a warning; one of another run (other code, framework,
    ruleset …) or in another format is refused with `BadCheckpoint`.
    """
    _check_folder(folder)
    for leftover in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(leftover, ignore_errors=True)  # another process may sweep too
    for step in reversed(_steps(folder)):
        path = folder / f"{_PREFIX}{step}"
        try:
            checkpoint = load(path)
        except (BadCheckpoint, MemoryError):
            raise
        except Exception as error:  # bytes that anything may be wrong with
            kind = "cannot be read" if isinstance(error, OSError) else "is damaged"
            warn(f"Checkpoint {path} {kind} ({error}); going back to the one before.")
            continue
        _check_identity(checkpoint, identity, path)
        return checkpoint
    return None


def _check_folder(folder: Path) -> None:
    """Refuses a folder that is there and cannot be read, which looks like an empty one."""
    try:
        os.listdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadCheckpoint(
            f"{folder} cannot be read: {error.strerror}. Make it readable, or start anew with "
            "--overwrite."
        ) from None


def load(path: Path) -> Checkpoint:
    """One checkpoint; an error of any kind where a byte of it is not as it was written."""
    from safetensors.numpy import load_file

    content = json.loads((path / _META).read_text())
    meta = content["state"]
    if _sha256_of_json(meta) != content["sha256"]:
        raise ValueError(f"the checksum of {_META} differs")
    _check_format(meta.get("format", 1), path)
    if f"{_PREFIX}{meta['step']}" != path.name:
        raise ValueError(f"{_META} is of step {meta['step']}")
    if _sha256(path / _ARRAYS) != meta["sha256"]:
        raise ValueError("the checksum of its arrays differs")
    arrays = {
        name: _from_storable(array, meta["dtypes"][name])
        for name, array in load_file(path / _ARRAYS).items()
    }
    return Checkpoint(int(meta["step"]), arrays, meta["rest"], meta["identity"], path)


def _check_format(number: int, path: Path) -> None:
    if number != FORMAT:
        age = "an older" if number < FORMAT else "a newer"
        raise BadCheckpoint(
            f"{path} was written by {age} version of the benchmark (format {number}; this "
            f"version has {FORMAT}). Resume with that version, or start anew with --overwrite."
        )


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
    """Types that safetensors or numpy lacks (complex128, bfloat16 …) are stored as bytes."""
    array = np.asarray(array, order="C")  # np.ascontiguousarray would make scalars 1-d
    dtype = array.dtype
    if dtype.kind in "biuf" and dtype.isbuiltin == 1 and dtype.itemsize <= 8:
        return array
    shape = array.shape
    return array.reshape(-1).view(np.uint8).reshape(*shape, array.dtype.itemsize)


def _from_storable(array: np.ndarray, dtype: str) -> np.ndarray:
    if str(array.dtype) == dtype:
        return array
    import ml_dtypes  # noqa: F401  # installed with either framework; tells numpy its types

    kind = np.dtype(dtype)
    return np.ascontiguousarray(array).reshape(-1).view(kind).reshape(array.shape[:-1])


def _sha256_as_written(path: Path, stored: Mapping[str, np.ndarray]) -> str:
    """The checksum of the file that `stored` was written to, without reading the arrays back."""
    with path.open("rb") as file:
        start = file.read(8)
        header = file.read(int.from_bytes(start, "little"))
    digest = hashlib.sha256(start + header)
    places = json.loads(header)
    for name in sorted(stored, key=lambda name: places[name]["data_offsets"]):
        digest.update(stored[name].reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
