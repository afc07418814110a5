"""The study's published logs: `<budget>/<schedule>/<problem>/<optimizer>/<setting>/<run>.json`.

`results_main` has the folders `oneshot`, `small_budget`, `medium_budget` and `large_budget`, with
`none`, `cosine`, `cosine_wr` and `ltr` in each; other folders of results may have fewer levels.
Files are read as DeepOBS's (`..deepobs.folders`); the quirks of this study are mended here.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from algoperf.errors import BadLogs
from algoperf.logs import check_folder

from ..deepobs import folders
from ..deepobs.runs import LOSSES, Run
from .cells import (
    BUDGETS,
    CONSTANT,
    MAIN,
    ONE_SHOT,
    RETUNING,
    SCHEDULES,
    SEEDS,
    SMALL,
    Scan,
    ValleyRun,
)

_SCHEDULE_FOLDERS = {"none": CONSTANT, **{name: name for name in SCHEDULES}}
_BUDGET_FOLDERS = {
    **{f"{name}_budget": name for name in BUDGETS},
    **{name: name for name in BUDGETS},
}
_DEPTH = 3  # of problem, optimizer, setting
# Classes of the published logs, by what is left of their names in lower case; see `_short`.
_ALIASES = {
    "gradientdescent": "sgd",
    "nesterovmomentum": "nag",
    "nesterov": "nag",
    "rectifiedadam": "radam",
    "lamomentum": "lookahead_momentum",
    "lookaheadmomentum": "lookahead_momentum",
    "laradam": "lookahead_radam",
    "lookaheadradam": "lookahead_radam",
}
_QUADRATIC = "quadratic_deep"
_SECOND_QUADRATIC = 347.358  # initial test loss; the first one's is 353.447


def read(folder: Path) -> Scan:
    """All runs below a folder of results; what is wrong with it is in `left_out`.

    BadLogs where there is nothing at all.
    """
    check_folder(folder)
    found = Scan()
    for part, budget, schedule in _parts(folder):
        try:
            scan = folders.read(part)
        except BadLogs as error:
            found.left_out.append(str(error))
            continue
        place = part.relative_to(folder)
        found.left_out.extend(f"{place}: {phrase}" for phrase in scan.left_out)
        runs = [_mended(run) for run in scan.runs]
        study = _study(part)
        found.runs.extend(ValleyRun(run, (budget,), schedule, study) for run in runs)
    if not found.runs:
        raise BadLogs(
            f"There are no results under {folder}. Expected folders like small_budget/none/"
            "<problem>/<optimizer>/<setting>/random_seed__42__<time>.json; give the folder "
            "that holds the budgets, such as results_main."
        )
    found.notes.extend(_notes(found.runs))
    return found


def _parts(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """The folders that hold problems, each with the budget and the schedule of its path."""
    waiting = [(folder, "", CONSTANT, 0)]
    while waiting:
        path, budget, schedule, depth = waiting.pop(0)
        budget = _BUDGET_FOLDERS.get(path.name, budget)
        schedule = _SCHEDULE_FOLDERS.get(path.name, schedule)
        if _holds_problems(path):
            yield path, budget or SMALL, schedule
        elif depth < _DEPTH:
            inner = sorted(p for p in path.iterdir() if p.is_dir())
            waiting += [(p, budget, schedule, depth + 1) for p in inner]


def _study(path: Path) -> str:
    names = set(path.absolute().parts)
    if "results_tuning_validation" in names:
        return RETUNING
    return SEEDS if "results_seed_robustness" in names else MAIN


def _holds_problems(path: Path) -> bool:
    """Whether runs lie three folders below; folders of budgets and schedules have more."""
    names = {p.name for p in path.iterdir() if p.is_dir()}
    if names & (_SCHEDULE_FOLDERS.keys() | _BUDGET_FOLDERS.keys()):
        return False
    return next(path.glob("*/*/*/*.json"), None) is not None


def _mended(run: Run) -> Run:
    return replace(run, optimizer=short(run.optimizer), has_diverged=_diverged(run))


def short(name: str) -> str:
    """Our name of an optimizer's class, such as `adam` for `AdamOptimizer`."""
    plain = name.lower().replace("_", "")
    for ending in ("optimizer", "optimiser"):
        plain = plain.removesuffix(ending)
    return _ALIASES.get(plain, plain or name)


def _diverged(run: Run) -> bool:
    """Whether its curves end in their values from before training, or are not finite there.

    After a divergence the study's logs repeat entry 0 for the rest of the epochs.
    """
    losses = np.stack([run.curves[name] for name in LOSSES])
    if not np.isfinite(losses[:, -1]).all():
        return True
    return run.num_epochs > 0 and bool((losses[:, -1] == losses[:, 0]).all())


def is_second_quadratic(run: Run) -> bool:
    """Whether it trained on the quadratic that a process drew when it drew a second one."""
    start = float(run.curves[LOSSES[0]][0])
    is_it = math.isclose(start, _SECOND_QUADRATIC, abs_tol=5e-3)
    return run.problem == _QUADRATIC and is_it


def _notes(runs: Sequence[ValleyRun]) -> list[str]:
    notes = []
    others = sum(is_second_quadratic(item.run) for item in runs)
    if others:
        notes.append(
            f"{others} runs of {_QUADRATIC} trained on another quadratic, whose test loss "
            f"before training is {_SECOND_QUADRATIC}: their values compare with others only "
            "roughly."
        )
    diverged = sum(item.run.has_diverged for item in runs)
    if diverged:
        notes.append(
            f"{diverged} runs diverged; their curves end in the values from before "
            "training, and they count as worst when a setting is chosen."
        )
    seeds = {item.run.seed for item in runs if item.budgets == (ONE_SHOT,)}
    if seeds and len(seeds) < 10:
        notes.append(f"One-shot runs have {len(seeds)} seeds; the study has 10.")
    return notes
