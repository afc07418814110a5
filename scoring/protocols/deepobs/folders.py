"""Result folders in the published layout: reads them, checks them, and writes them.

`<folder>/<problem>/<optimizer>/<setting>/random_seed__<seed>__<time>.json`, where `<setting>` is
`num_epochs__<n>__batch_size__<b>[__weight_decay__<w>]__<hyperparameter>__<value>…`. Release 1.1
has the learning rate last and calls it `lr`; release 1.2 has the names in alphabetical order.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from algoperf.errors import BadLogs, BadSettings
from algoperf.files import read_regular, write_atomically
from algoperf.logs import check_folder

from .runs import (
    ACCURACIES,
    CURVES,
    LEARNING_RATE,
    LOSSES,
    VALIDATION,
    Run,
    Scan,
    problem_of,
)

Release = Literal["1.1", "1.2"]
RELEASES: tuple[Release, ...] = ("1.1", "1.2")
_MANTISSA_DIGITS = 10
_LONGEST_NAME = 255  # bytes of a folder's name on all usual file systems
_NO_TIME = "1970-01-01-00-00-00"
_DEPTH = 3  # problem, optimizer, setting


def number_text(value: object) -> str:
    """A hyperparameter's value in a folder's name: `1.5848931925e-02`, `1.e-02`."""
    if isinstance(value, float):
        return np.format_float_scientific(value, precision=_MANTISSA_DIGITS)
    return str(value)


def setting_name(run: Run, release: Release = "1.2") -> str:
    """The name of the folder of a setting."""
    parts: dict[str, object] = {
        "num_epochs": run.num_epochs,
        "batch_size": run.batch_size,
    }
    if run.weight_decay is not None:
        parts["weight_decay"] = run.weight_decay
    point = dict(sorted(run.point.items()))
    if release == "1.1" and LEARNING_RATE in point:
        point["lr"] = point.pop(LEARNING_RATE)
    words = [f"{name}__{number_text(value)}" for name, value in parts.items()]
    # A point may have a weight decay of its own beside the problem's.
    words += [f"{name}__{number_text(value)}" for name, value in point.items()]
    return "__".join(words)


def write(folder: Path, runs: Iterable[Run], release: Release = "1.2") -> list[Path]:
    """Writes a file for each run; the paths. Files of the same runs are replaced."""
    written = []
    for run in runs:
        name = setting_name(run, release)
        if len(os.fsencode(name)) > _LONGEST_NAME:
            raise BadSettings(
                f"The name of a setting of {run.optimizer} would have {len(name)} "
                f"characters, more than the {_LONGEST_NAME} that a folder's name may have. "
                "Leave hyperparameters that have no effect out of its base point."
            )
        parent = folder / run.problem / run.optimizer / name
        parent.mkdir(parents=True, exist_ok=True)
        file = f"random_seed__{run.seed}__{run.ended or _NO_TIME}.json"
        text = json.dumps(_content(run, release), indent=1)  # NaN as in the published
        write_atomically(parent / file, text + "\n")
        written.append(parent / file)
    return written


def _content(run: Run, release: Release) -> dict[str, Any]:
    content: dict[str, Any] = {
        "testproblem": run.problem,
        "batch_size": run.batch_size,
        "num_epochs": run.num_epochs,
        "random_seed": run.seed,
    }
    content |= {name: values.tolist() for name, values in run.curves.items()}
    point = dict(run.point)
    if release == "1.2":
        return content | {
            "l2_reg": run.weight_decay,
            "optimizer_name": run.optimizer,
            "optimizer_hyperparams": point,
            "training_params": {},
        }
    rate = point.pop(LEARNING_RATE, None)
    return content | {
        "weight_decay": run.weight_decay,
        "optimizer": run.optimizer,
        "learning_rate": rate,
        "lr_sched_epochs": None,
        "lr_sched_factors": None,
        "hyperparams": point,
    }


def read(folder: Path) -> Scan:
    """All runs in a folder of results; what is wrong with it is in `left_out`.

    Noted are settings without a run, files without the keys, curves of a wrong length, and
    seeds that stand twice in a setting (the newest file counts). BadLogs where there is
    nothing at all.
    """
    check_folder(folder)
    scan = Scan()
    settings = [folder]
    for _ in range(_DEPTH):
        settings = [inner for outer in settings for inner in _folders(outer)]
    for setting in settings:
        _read_setting(setting, folder, scan)
    if not scan.runs and not scan.left_out:
        raise BadLogs(
            f"There are no results under {folder}. Expected files like <problem>/<optimizer>/"
            "<setting>/random_seed__42__<time>.json; give the folder that holds the problems."
        )
    return scan


def _folders(parent: Path) -> list[Path]:
    try:
        found = [path for path in parent.iterdir() if path.is_dir()]
    except OSError as error:
        raise BadLogs(f"{parent} cannot be read: {error.strerror}.") from None
    return sorted(path for path in found if not path.name.startswith("."))


def _read_setting(setting: Path, root: Path, scan: Scan) -> None:
    seeds: dict[int, str] = {}
    files = sorted(setting.glob("*.json"), reverse=True)  # the newest first
    place = setting.relative_to(root)
    if not files:
        scan.left_out.append(f"{place} has no run")
    for path in files:
        try:
            run = _run(path)
        except BadLogs as error:
            scan.left_out.append(f"{place / path.name}: {error}")
            continue
        if run.seed in seeds:
            scan.left_out.append(
                f"{place / path.name} has seed {run.seed} as {seeds[run.seed]} has"
            )
            continue
        seeds[run.seed] = path.name
        scan.runs.append(run)


def _run(path: Path) -> Run:
    """One file; BadLogs says what is wrong with it, without its name."""
    try:
        content = json.loads(read_regular(path))
    except (ValueError, RecursionError) as error:
        raise BadLogs(f"is not readable JSON ({error})") from None
    if not isinstance(content, dict):
        raise BadLogs("must hold a JSON object")
    num_epochs = _whole(content, "num_epochs")
    problem, optimizer = path.parts[-4], path.parts[-3]
    if content.get("testproblem", problem) != problem:
        raise BadLogs(
            f"is of the problem {content['testproblem']!r} by its own words, but lies in the "
            f"folder of {problem}"
        )
    curves = _curves(content, num_epochs)
    judged_by = problem_of(problem, has_accuracy=ACCURACIES[0] in curves).judged_by
    if judged_by not in curves:
        raise BadLogs(f"has no {judged_by}, by which {problem} is judged")
    decay = content.get("weight_decay", content.get("l2_reg"))
    return Run(
        problem,
        optimizer,
        _point(content),
        _whole(content, "random_seed"),
        _whole(content, "batch_size"),
        curves,
        None if decay is None else _number(decay, "weight_decay"),
        has_diverged=not math.isfinite(curves[LOSSES[0]][-1]),
        ended=path.stem.rpartition("__")[2],
    )


def _whole(content: Mapping[str, Any], name: str) -> int:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadLogs(f"{name} is {value!r}; it must be a whole number")
    return value


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadLogs(f"{name} has {value!r}; it must be a number")
    try:
        return float(value)
    except OverflowError:
        raise BadLogs(f"{name} has an integer beyond the largest float") from None


def _curves(content: Mapping[str, Any], num_epochs: int) -> dict[str, np.ndarray]:
    wanted = [*LOSSES, *(name for name in ACCURACIES if name in content)]
    if len(wanted) == len(LOSSES) + 1:
        wanted = list(CURVES)  # one accuracy without the other: say that it is missing
    wanted += [name for name in VALIDATION if name in content]
    curves = {}
    for name in wanted:
        values = content.get(name)
        if not isinstance(values, list):
            raise BadLogs(f"{name} is missing or no list")
        if len(values) != num_epochs + 1:
            raise BadLogs(
                f"{name} has {len(values)} values; {num_epochs} epochs have "
                f"{num_epochs + 1}"
            )
        curves[name] = np.array([_number(value, name) for value in values], float)
    return curves


def _point(content: Mapping[str, Any]) -> dict[str, object]:
    """The hyperparameters under either release's keys."""
    key = "optimizer_hyperparams"
    if key not in content:
        key = "hyperparams"
    given = content.get(key)
    if not isinstance(given, dict):
        raise BadLogs("optimizer_hyperparams (or, of release 1.1, hyperparams) missing")
    point = {str(name): value for name, value in given.items()}
    for name in ("learning_rate", "lr"):
        if name in content:
            point[LEARNING_RATE] = content[name]
    if "lr" in point:
        point[LEARNING_RATE] = point.pop("lr")
    if LEARNING_RATE in point:
        point[LEARNING_RATE] = _number(point[LEARNING_RATE], LEARNING_RATE)
    return point
