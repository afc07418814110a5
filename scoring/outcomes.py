"""How trials ended: as recorded or, in published logs, as the evaluations show."""

import math
from collections import Counter

from algoperf.logs import Outcome, Trial

from .checks import is_unfinished
from .pool import Pool
from .targets import ScoredWorkload
from .times import MISS, first_hit

UNFINISHED = "unfinished"
OUTCOME_NAMES: tuple[str, ...] = (*(outcome.value for outcome in Outcome), UNFINISHED)


def outcome_name(trial: Trial, workload: ScoredWorkload) -> str:
    """One of OUTCOME_NAMES; without a record, judged by the target metric."""
    if trial.outcome is not None:
        return trial.outcome.value
    if is_unfinished(trial):
        return UNFINISHED
    hit = first_hit(trial, workload.target, "validation", workload.budget_seconds)
    if hit is not MISS:
        return Outcome.REACHED.value
    values = trial.metric(f"validation/{workload.target.metric}")
    diverged = len(values) > 0 and not math.isfinite(values[-1])
    return (Outcome.DIVERGED if diverged else Outcome.NOT_REACHED).value


def outcome_counts(pool: Pool, submission: str) -> dict[str, int]:
    """Number of trials of each outcome; every name of OUTCOME_NAMES is a key."""
    counts = Counter(
        outcome_name(trial, pool.workloads[trial.id.workload])
        for trial in pool.trials(submission)
    )
    return {name: counts[name] for name in OUTCOME_NAMES}
