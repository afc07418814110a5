"""How far trials are that may still be running, for `algoperf watch`.

Reads what is there: a folder without evaluations yet, or with a damaged file, is a line too.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from algoperf import logs, registry
from algoperf.definition import Target
from algoperf.errors import AlgoPerfError
from algoperf.logs import STEP, SUBMISSION_SECONDS, Outcome, Trial, TrialId

from ..tables import duration, printable
from ..targets import from_meta

RUNNING, STARTING, STOPPED, UNREADABLE, NO_RECORD = (
    "running",
    "starting",
    "stopped",  # its process is gone, and it recorded no end
    "unreadable",
    "no end recorded",
)
_OPEN = (RUNNING, STARTING, STOPPED, UNREADABLE)
_BAR = 5  # characters
_HEADER = ("  trial", "state", "step", "best", "budget", "left", "silent")
_NUMBERS = {2}  # columns that are aligned to the right
_SHORT = {
    Outcome.SUBMISSION_CRASHED.value: "crashed",
    Outcome.INFRASTRUCTURE_CRASHED.value: "machine failed",
    NO_RECORD: "no record",
}


@dataclass(frozen=True)
class Progress:
    """One trial as its folder stands now; what is not known is NaN."""

    id: TrialId
    state: str  # one of the constants above, or the outcome of a trial that has ended
    step: float = math.nan
    target: Target | None = None
    best: float = math.nan  # of the validation metric
    reached: bool = False  # the validation target
    seconds: float = math.nan  # of submission time, until the last evaluation
    budget_seconds: float = math.nan
    silent_seconds: float = math.nan  # since a file of the trial changed
    reason: str = ""
    caveats: tuple[str, ...] = ()  # what to know before comparing it with others

    @property
    def is_open(self) -> bool:
        """Whether more may come."""
        return self.state in _OPEN


class Watcher:
    """Reads a folder of logs again and again, and only the trials that have changed."""

    def __init__(
        self,
        directory: Path,
        is_held: Callable[[Path], bool] = lambda folder: True,
    ) -> None:
        """is_held: whether a process works on a trial's folder."""
        logs.check_folder(directory)
        self._directory = directory.resolve()
        self._is_held = is_held
        self._known: dict[Path, tuple[object, Progress]] = {}

    def look(self, now: float) -> list[Progress]:
        """All trials; `now`: seconds since the epoch."""
        found = []
        for identity, folder in logs.trial_folders(self._directory):
            stamp, changed = _stamp(folder)
            known = self._known.get(folder)
            if known is None or known[0] != stamp:
                known = (stamp, _progress(identity, folder))
                self._known[folder] = known
            silent = max(0.0, now - changed) if changed else math.nan
            state = known[1].state
            if state in (RUNNING, STARTING) and not self._is_held(folder):
                state = STOPPED
            found.append(replace(known[1], state=state, silent_seconds=silent))
        return found


def _stamp(folder: Path) -> tuple[object, float]:
    """Names, sizes and times of a folder's files, and when the last one changed."""
    files = []
    try:
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                state = path.stat()
                files.append((path.name, state.st_size, state.st_mtime_ns))
    except OSError:  # removed or replaced while we look; the next look sees it
        pass
    return tuple(files), max((mtime / 1e9 for *_, mtime in files), default=0.0)


def _progress(identity: TrialId, folder: Path) -> Progress:
    try:
        trial = logs.read_trial(identity, folder)
        return _of_trial(trial)
    except AlgoPerfError as error:
        return Progress(identity, UNREADABLE, reason=str(error))


def _of_trial(trial: Trial) -> Progress:
    target, budget = _facts(trial)
    caveats = trial.ended.caveats if trial.ended else ()
    if trial.outcome is not None:
        state = trial.outcome.value
    elif trial.num_evaluations:
        state = RUNNING if trial.is_unfinished else NO_RECORD
    else:
        state = STARTING
    if not trial.num_evaluations:
        return Progress(
            trial.id,
            state,
            target=target,
            budget_seconds=budget,
            reason=trial.reason,
            caveats=caveats,
        )
    best = _best(trial, target) if target else math.nan
    reached = target is not None and target.is_better(best, target.validation)
    return Progress(
        trial.id,
        state,
        step=float(trial.columns[STEP][-1]),
        target=target,
        best=best,
        reached=reached,
        seconds=float(trial.columns[SUBMISSION_SECONDS][-1]),
        budget_seconds=budget,
        reason=trial.reason,
        caveats=caveats,
    )


def _facts(trial: Trial) -> tuple[Target | None, float]:
    """Target and budget as the run recorded them, else the definition's target."""
    recorded = from_meta(trial)
    if recorded:
        return recorded.target, recorded.budget_seconds
    definition = registry.definitions().get(trial.id.workload)
    return (definition.target if definition else None), math.nan


def _best(trial: Trial, target: Target) -> float:
    values = [
        v for v in trial.metric(f"validation/{target.metric}") if math.isfinite(v)
    ]
    if not values:
        return math.nan
    return float(min(values, key=target.cost))


def screen(
    trials: Sequence[Progress],
    *,
    width: int | None = None,
    height: int | None = None,
) -> str:
    """What the terminal shows: trials by workload, those with open trials first.

    width, height: of the terminal in characters; None: nothing is cut off. Rows of trials have
    at most 80 characters.
    """
    if not trials:
        return "No trials yet."
    rows = [line for group in _groups(trials) for line in group]
    foot = _foot(trials)
    if height is not None and len(rows) > (space := max(2, height - 3 - len(foot))):
        left_out = sum(row.is_trial for row in rows[space:])
        rows = rows[:space]
        while len(rows) > 1 and rows[-1].is_head:  # of trials that are cut off
            rows.pop()
        foot = [f"... and {left_out} more", *foot] if left_out else foot
    widths = [
        max(map(len, cells))
        for cells in zip(*(r.cells for r in rows if r.cells), strict=True)
    ]
    lines = [_headline(trials), *(row.text(widths) for row in rows), *foot]
    return "\n".join(line[:width].rstrip() for line in lines)


@dataclass(frozen=True)
class _Row:
    """A line of the screen: cells in columns, or words."""

    words: str = ""
    cells: tuple[str, ...] = ()
    is_trial: bool = False

    @property
    def is_head(self) -> bool:
        """Whether it stands above the trials of a workload."""
        return not self.is_trial and not self.words.startswith(" ")

    def text(self, widths: Sequence[int]) -> str:
        """The line, with its cells aligned; numbers to the right."""
        padded = [
            cell.rjust(width) if place in _NUMBERS else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(self.cells, widths, strict=False))
        ]
        return "  ".join(padded) if self.cells else self.words


def as_json(trials: Sequence[Progress]) -> dict[str, Any]:
    """The state of each trial, for programs; NaN where something is not known."""
    return {
        "trials": [
            {
                **asdict(trial.id),
                "state": trial.state,
                "reason": trial.reason,
                "step": trial.step,
                "metric": trial.target.metric if trial.target else None,
                "target": trial.target.validation if trial.target else None,
                "best": trial.best,
                "reached": trial.reached,
                "seconds": trial.seconds,
                "budget_seconds": trial.budget_seconds,
                "silent_seconds": trial.silent_seconds,
                "marks": list(trial.caveats),
            }
            for trial in trials
        ]
    }


def _groups(trials: Sequence[Progress]) -> list[list[_Row]]:
    """The rows of each submission on each workload; those with open trials first."""
    groups: dict[tuple[str, str, str], list[Progress]] = {}
    for trial in trials:
        place = (trial.id.submission, trial.id.workload, trial.id.framework)
        groups.setdefault(place, []).append(trial)
    ordered = sorted(groups.values(), key=lambda group: min(map(_order, group)))
    return [_group_rows(sorted(group, key=_order)) for group in ordered]


def _order(trial: Progress) -> tuple[bool, float]:
    """Open trials first, then those that ended last."""
    silent = trial.silent_seconds
    known = silent if math.isfinite(silent) else math.inf
    return not trial.is_open, 0.0 if trial.is_open else known


def _group_rows(trials: Sequence[Progress]) -> list[_Row]:
    first = trials[0]
    target = next((t.target for t in trials if t.target is not None), None)
    words = (
        "no target known"
        if target is None
        else f"{printable(target.metric)} {target.comparison} {target.validation:.5g}"
    )
    title = printable(
        f"{first.id.submission}, {first.id.workload} ({first.id.framework})"
    )
    rows = [_Row(), _Row(f"{title}: {words}"), _Row(cells=_HEADER)]
    for trial in trials:
        rows.append(_Row(cells=_cells(trial), is_trial=True))
        if trial.state == UNREADABLE:
            rows.append(_Row(f"      unreadable: {printable(trial.reason)}"))
        rows += [_Row(f"      note: {printable(text)}") for text in trial.caveats]
    return rows


def _foot(trials: Sequence[Progress]) -> list[str]:
    lines = []
    if any(trial.reached for trial in trials):
        lines.append("* validation target reached")
    if num_stopped := sum(trial.state == STOPPED for trial in trials):
        lines.append(f"{num_stopped} stopped: resume with `algoperf run ... --resume`.")
    return ["", *lines] if lines else []


def _headline(trials: Sequence[Progress]) -> str:
    counts = Counter(trial.state for trial in trials)
    order = (*_OPEN, *sorted(set(counts) - set(_OPEN)))
    words = [f"{counts[state]} {state}" for state in order if counts[state]]
    plural = "s" * (len(trials) != 1)
    return f"{len(trials)} trial{plural}: {', '.join(words)}"


def _cells(trial: Progress) -> tuple[str, ...]:
    best = f"{trial.best:.5g}" if math.isfinite(trial.best) else "-"
    return (
        f"  {trial.id.study}/{trial.id.trial}",
        _SHORT.get(trial.state, trial.state),
        f"{trial.step:,.0f}" if math.isfinite(trial.step) else "-",
        f"{best}*" if trial.reached else best,
        _bar(trial),
        _left(trial),
        duration(trial.silent_seconds) if trial.is_open else "",
    )


def _bar(trial: Progress) -> str:
    """How much of the budget was spent until the last evaluation."""
    share = trial.seconds / trial.budget_seconds if trial.budget_seconds else math.nan
    if not math.isfinite(share):
        return duration(trial.seconds)
    filled = min(_BAR, round(share * _BAR))
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {share:.0%}"


def _left(trial: Progress) -> str:
    if not trial.is_open:
        return ""
    return duration(max(0.0, trial.budget_seconds - trial.seconds))
