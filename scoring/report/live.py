"""How far trials are that may still be running, for `algoperf watch`.

Reads what is there: a folder without evaluations yet, or with a damaged file, is a line too.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from algoperf import logs, registry
from algoperf.definition import Target
from algoperf.errors import AlgoPerfError
from algoperf.logs import STEP, SUBMISSION_SECONDS, Trial, TrialId

from ..tables import aligned, duration, printable
from ..targets import from_meta

RUNNING, STARTING, UNREADABLE, NO_RECORD = (
    "running",
    "starting",
    "unreadable",
    "no end recorded",
)
_OPEN = (RUNNING, STARTING, UNREADABLE)
_BAR = 10  # characters
_HEADER = (
    "submission",
    "workload",
    "study/trial",
    "state",
    "step",
    "best so far (target)",
    "of budget",
    "left",
    "changed",
)


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

    @property
    def is_open(self) -> bool:
        """Whether more may come."""
        return self.state in _OPEN


class Watcher:
    """Reads a folder of logs again and again, and only the trials that have changed."""

    def __init__(self, directory: Path) -> None:
        logs.check_folder(directory)
        self._directory = directory.resolve()
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
            found.append(replace(known[1], silent_seconds=silent))
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
    if trial.outcome is not None:
        state = trial.outcome.value
    elif trial.num_evaluations:
        state = RUNNING if trial.is_unfinished else NO_RECORD
    else:
        state = STARTING
    if not trial.num_evaluations:
        return Progress(
            trial.id, state, target=target, budget_seconds=budget, reason=trial.reason
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
    """What the terminal shows: open trials first, then those that ended last.

    width, height: of the terminal in characters; None: nothing is cut off.
    """
    lines = [_headline(trials)]
    if trials:
        ordered = sorted(
            trials, key=lambda t: (not t.is_open, _order(t) if not t.is_open else 0.0)
        )
        # The headline, a blank line, three lines of the table's head, and the last line.
        space = len(ordered) if height is None else max(1, height - 7)
        shown = ordered[:space]
        lines += aligned("", _HEADER, [_row(trial) for trial in shown]).splitlines()
        if len(shown) < len(ordered):
            lines.append(f"... and {len(ordered) - len(shown)} more")
        lines += _reasons(shown) if height is None else []
    return "\n".join(line[:width] for line in lines)


def _order(trial: Progress) -> float:
    return trial.silent_seconds if math.isfinite(trial.silent_seconds) else math.inf


def _headline(trials: Sequence[Progress]) -> str:
    if not trials:
        return "No trials yet."
    counts = Counter(trial.state for trial in trials)
    order = (*_OPEN, *sorted(set(counts) - set(_OPEN)))
    words = [f"{counts[state]} {state}" for state in order if counts[state]]
    return f"{len(trials)} trials: {', '.join(words)}"


def _row(trial: Progress) -> list[str]:
    return [
        printable(trial.id.submission),
        printable(f"{trial.id.workload} ({trial.id.framework})"),
        f"{trial.id.study}/{trial.id.trial}",
        trial.state,
        f"{trial.step:,.0f}" if math.isfinite(trial.step) else "-",
        _best_words(trial),
        _bar(trial),
        _left(trial),
        f"{duration(trial.silent_seconds)} ago" if trial.is_open else "",
    ]


def _best_words(trial: Progress) -> str:
    target = trial.target
    if target is None:
        return "no target known"
    best = f"{trial.best:.5g}" if math.isfinite(trial.best) else "-"
    reached = ", reached" if trial.reached else ""
    name = printable(target.metric)
    return f"{name} {best} ({target.comparison} {target.validation:.5g}{reached})"


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


def _reasons(trials: Sequence[Progress]) -> list[str]:
    """Why files could not be read."""
    return [
        f"unreadable: {printable(trial.reason)}"
        for trial in trials
        if trial.state == UNREADABLE
    ]
