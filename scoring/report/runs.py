"""How the trials ended, and what they cost."""

import math
from collections.abc import Iterator

from algoperf.logs import Trial

from .. import cost
from ..leaderboard import Leaderboard
from ..outcomes import ORDINARY, UNFINISHED, outcome_name
from ..tables import duration
from .document import (
    NONE,
    Cell,
    Column,
    DataTable,
    Section,
    count_cell,
    duration_cell,
    percent_cell,
    text_cell,
)

_SUBMISSION = Column("submission", is_numeric=False)
_OF_TRIAL = (
    _SUBMISSION,
    Column("workload", is_numeric=False),
    Column("study"),
    Column("trial"),
)
_REASON = Column("reason", is_numeric=False)
_MAX_FAILURES = 200
_TRIAL_COUNTS = (1, 2, 3, 5, 10, 20, 50)


def outcomes_section(board: Leaderboard) -> Section:
    """Counts of outcomes, and the reasons of what failed."""
    names = [
        name
        for name in board.entries[0].outcomes
        if any(entry.outcomes[name] for entry in board.entries)
    ]
    rows = [
        [
            text_cell(entry.submission),
            *(count_cell(entry.outcomes[name]) for name in names),
            count_cell(sum(entry.outcomes.values())),
        ]
        for entry in board.entries
    ]
    columns = [_SUBMISSION, *(Column(name) for name in names), Column("all")]
    blocks = [DataTable("outcomes", "Trials by outcome", columns, rows)]
    failures = list(_failures(board))
    if failures:
        blocks.append(_failures_table(failures))
    claims = [
        (entry.submission, trial)
        for entry in board.entries
        for trial in board.pool.trials(entry.submission)
        if trial.claims_target
    ]
    if claims:
        blocks.append(_verified_table(claims))
    return Section(
        "outcomes",
        "How the trials ended",
        "A trial that diverged, crashed or broke a rule counts as one that did not reach "
        "the target; rerun trials that failed because of the infrastructure.",
        blocks,
    )


def _verified_table(claims: list[tuple[str, Trial]]) -> DataTable:
    """The mark of each trial that says it reached its target."""
    rows = []
    for submission, trial in claims[:_MAX_FAILURES]:
        found = trial.verification
        rows.append(
            [
                text_cell(submission),
                text_cell(trial.id.workload),
                count_cell(trial.id.study),
                count_cell(trial.id.trial),
                text_cell(found.status.value if found else "not verified"),
                text_cell(found.reason if found else ""),
            ]
        )
    left_out = len(claims) - len(rows)
    return DataTable(
        "verified",
        "Verification of trials that claim a target",
        [*_OF_TRIAL, Column("mark", is_numeric=False), _REASON],
        rows,
        f"{left_out} more are not listed." if left_out else "",
        is_long=len(rows) > 12,
    )


def _failures(board: Leaderboard) -> Iterator[tuple[str, Trial, str]]:
    for entry in board.entries:
        for trial in board.pool.trials(entry.submission):
            hit = board.hits.validation[trial.id]
            name = outcome_name(trial, board.pool.workloads[trial.id.workload], hit)
            if name not in ORDINARY:
                yield entry.submission, trial, name


def _failures_table(failures: list[tuple[str, Trial, str]]) -> DataTable:
    rows = []
    for submission, trial, outcome in failures[:_MAX_FAILURES]:
        reason = trial.reason or ("no end recorded" if outcome == UNFINISHED else "")
        rows.append(
            [
                text_cell(submission),
                text_cell(trial.id.workload),
                count_cell(trial.id.study),
                count_cell(trial.id.trial),
                text_cell(outcome),
                text_cell(reason),
            ]
        )
    left_out = len(failures) - len(rows)
    return DataTable(
        "failures",
        "Trials that did not complete normally",
        [*_OF_TRIAL, Column("outcome", is_numeric=False), _REASON],
        rows,
        f"{left_out} more are not listed." if left_out else "",
        is_long=len(rows) > 12,
    )


def cost_section(board: Leaderboard) -> Section:
    """Time of machines, and what more trials buy."""
    rows = [
        [
            text_cell(name),
            duration_cell(spent.total_seconds),
            duration_cell(spent.submission_seconds),
            percent_cell(spent.evaluation_share, is_shaded=False),
            percent_cell(spent.logging_share, is_shaded=False),
        ]
        for name, spent in cost.costs(board).items()
    ]
    columns = [
        _SUBMISSION,
        Column("machine time"),
        Column("of it training"),
        Column("evaluation"),
        Column("logging"),
    ]
    blocks = [DataTable("cost", "Cost of all trials", columns, rows)]
    if board.pool.num_trials > 1:
        blocks.append(_tuning_table(board))
    return Section(
        "cost",
        "Cost",
        "Time of one machine until each trial's last evaluation, and the share of it spent on "
        "evaluation and logging, which is not charged to submissions.",
        blocks,
    )


def _tuning_table(board: Leaderboard) -> DataTable:
    num_trials = board.pool.num_trials
    counts = [k for k in _TRIAL_COUNTS if k < num_trials] + [num_trials]
    rows = []
    for entry in board.entries:
        for workload in board.pool.bases:
            found = cost.tuning_cost(board, entry.submission, workload)
            cells = [
                _tuning_cell(
                    float(found.seconds_to_target[k - 1]),
                    float(found.hours_spent[k - 1]) * 3600,
                )
                for k in counts
            ]
            rows.append([text_cell(entry.submission), text_cell(workload), *cells])
    columns = [_SUBMISSION, Column("workload", is_numeric=False)]
    columns += [Column(f"{k} trial{'s' if k > 1 else ''}") for k in counts]
    return DataTable(
        "tuning_cost",
        "Time to target after the first trials of a study",
        columns,
        rows,
        "Medians over the studies, with trials in the order of their numbers; in brackets the "
        "total cost of these trials.",
        is_long=True,
    )


def _tuning_cell(seconds: float, spent: float) -> Cell:
    if not math.isfinite(seconds):
        return Cell(NONE, detail=f"[{duration(spent)}]")
    return Cell(duration(seconds), seconds, detail=f"[{duration(spent)}]")
