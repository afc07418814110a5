"""The parameters of evaluations that reached a target, so that anyone can evaluate them again.

`evidence/ckpt-<step>` holds what was evaluated, in the format of checkpoints, without the
optimizer's state and without any object of the submission.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf.backend import Backend
from algoperf.errors import BadCheckpoint
from algoperf.runner.checkpoints import files, ranks
from algoperf.runner.checkpoints.files import Checkpoint
from algoperf.runner.checkpoints.snapshot import Snapshot

FOLDER = "evidence"
_KEPT = 2  # the first at the validation target, and the first at the test target
_PARTS = ("params", "model_state")


def copy_of(
    backend: Backend,
    step: int,
    evaluated: tuple[Any, Any],
    identity: Mapping[str, Any],
) -> Checkpoint:
    """Parameters and model state that were evaluated after a step, copied to the host."""
    arrays, leaves = backend.to_leaves(dict(zip(_PARTS, evaluated, strict=True)))
    return Checkpoint(step, arrays, {"leaves": leaves}, identity)


def keep(folder: Path, evaluated: Checkpoint) -> None:
    """Writes what `copy_of` returned; BadCheckpoint where that fails. folder: the trial's."""
    files.save(folder / FOLDER, evaluated, keep=_KEPT)


def kept(folder: Path) -> list[Path]:
    """Of a trial's folder, in the order of steps."""
    found = (folder / FOLDER).glob("ckpt-*")
    return sorted(found, key=lambda path: int(path.name.partition("-")[2] or 0))


def newest_checkpoint(folder: Path) -> Path | None:
    """Of a trial's folder: what a trial without evidence can be judged by."""
    found = sorted(
        (folder / files.FOLDER).glob("ckpt-*"),
        key=lambda path: int(path.name.partition("-")[2] or 0),
    )
    return found[-1] if found else None


def evaluated_part(
    saved: Checkpoint,
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Arrays and leaves of the parameters and model state, of evidence or a checkpoint."""
    if "leaves" in saved.rest:
        return saved.arrays, saved.rest["leaves"]
    arrays, own = ranks.of_rank(0, saved.arrays, Snapshot.from_json(saved.rest).ranks)
    leaves = own["leaves"]
    tree = leaves["tree"]
    items = [item for item in tree["items"] if item[0] in _PARTS]
    if len(items) != len(_PARTS):
        raise BadCheckpoint("it holds no parameters.")
    return arrays, {**leaves, "tree": {**tree, "items": items}}


def restored(
    saved: Checkpoint, backend: Backend, template: tuple[Any, Any]
) -> tuple[Any, Any]:
    """Parameters and model state as they were evaluated, in the objects of `template`."""
    arrays, leaves = evaluated_part(saved)
    own = {name: array for name, array in arrays.items() if _is_own(name)}
    state = backend.from_leaves(dict(zip(_PARTS, template, strict=True)), own, leaves)
    return state["params"], state["model_state"]


def _is_own(name: str) -> bool:
    return name.partition("/")[0].partition("~")[0] in _PARTS
