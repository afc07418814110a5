"""How trials ended: as recorded or, in published logs, as the evaluations show."""

import math
from collections import Counter

from algoperf.logs import Outcome, Trial

from .checks import never_logged
from .targets import ScoredWorkload
from .times import MISS, Hit, Hits

UNFINISHED = "unfinished"
# Of trials that completed: they need no explanation.
ORDINARY = (Outcome.REACHED.value, Outcome.NOT_REACHED.value)
OUTCOME_NAMES: tuple[str, ...] = (*(outcome.value for outcome in Outcome), UNFINISHED)


def outcome_name(trial: Trial, workload: ScoredWorkload, hit: Hit) -> str:
    """One of OUTCOME_NAMES; without a record, judged by the target metric."""
    if trial.outcome is not None:
        return trial.outcome.value
    if trial.is_unfinished:
        return UNFINISHED
    if hit is not MISS:
        return Outcome.REACHED.value
    column = f"validation/{workload.target.metric}"
    values = trial.metric(column)
    diverged = (
        len(values) > 0
        and not math.isfinite(values[-1])
        and not never_logged(trial, column)
    )
    outcome: str = (Outcome.DIVERGED if diverged else Outcome.NOT_REACHED).value
    return outcome


def outcome_counts(hits: Hits, submission: str) -> dict[str, int]:
    """Number of trials of each outcome; every name of OUTCOME_NAMES is a key."""
    pool = hits.pool
    counts = Counter(
        outcome_name(
            trial, pool.workloads[trial.id.workload], hits.validation[trial.id]
        )
        for trial in pool.trials(submission)
    )
    return {name: counts[name] for name in OUTCOME_NAMES}
