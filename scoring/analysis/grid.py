"""Times corrected for the evaluation grid: a target is reached between two evaluations.

A time to target is that of the first evaluation at the target, so times come in steps of the
evaluation period. The corrected time is where the metric crosses the target between the
last evaluation before and that first one: on a straight line over submission time for
metrics that grow (accuracies), and for the logarithm of those that shrink (losses,
perplexities, error rates). The raw score stays the official one.
"""

import math
from dataclasses import replace

import numpy as np

from algoperf.definition import Target
from algoperf.logs import STEP, SUBMISSION_SECONDS, Trial

from ..figures import Charts
from ..leaderboard import Leaderboard, leaderboard
from ..report.charts import profile_chart
from ..report.document import Section
from ..tables import (
    Cell,
    DataTable,
    duration_cell,
    number_cell,
    percent_cell,
    plain_table,
)
from ..times import MISS, EvaluatedSplit, Hit, find_hits, first_hit


def interpolated_hit(
    trial: Trial, target: Target, split: EvaluatedSplit, budget_seconds: float
) -> Hit:
    """The hit, moved back to where the metric crossed the target."""
    hit = first_hit(trial, target, split, budget_seconds)
    bound = target.bound(split)
    if hit is MISS or bound is None or not hit.index:
        return hit
    at = int(hit.index)
    values = trial.metric(f"{split}/{target.metric}")[at - 1 : at + 1]
    share = _share_until(bound, float(values[0]), float(values[1]), target)
    if math.isnan(share):
        return hit
    seconds = trial.columns[SUBMISSION_SECONDS][at - 1 : at + 1]
    steps = trial.columns[STEP][at - 1 : at + 1]
    return Hit(_between(seconds, share), _between(steps, share), hit.index)


def _share_until(bound: float, before: float, after: float, target: Target) -> float:
    """How far along the way from `before` to `after` the bound lies; NaN: not known."""
    if target.comparison == "<":  # a loss, or a perplexity: it falls exponentially
        if min(bound, before, after) <= 0:
            return math.nan
        bound, before, after = map(math.log, (bound, before, after))
    if not math.isfinite(before) or before == after:
        return math.nan
    return (bound - before) / (after - before)


def _between(ends: np.ndarray, share: float) -> float:
    return float(ends[0] + share * (ends[1] - ends[0]))


def corrected(board: Leaderboard) -> Leaderboard:
    """The leaderboard by corrected times; the choice of trials follows them too."""
    hits = find_hits(board.pool, interpolated_hit)
    return leaderboard(board.pool, hits, reference=board.reference)


def grid_seconds(board: Leaderboard, workload: str) -> float:
    """Median time between the evaluation at the target and the one before; NaN: none."""
    widths = []
    for entry in board.entries:
        studies = board.pool.studies.get((entry.submission, workload), {})
        for trial in (trial for study in studies.values() for trial in study):
            hit = board.hits.validation[trial.id]
            if hit is not MISS and hit.index:
                seconds = trial.columns[SUBMISSION_SECONDS]
                at = int(hit.index)
                widths.append(float(seconds[at] - seconds[at - 1]))
    return float(np.median(widths)) if widths else math.nan


def report(board: Leaderboard) -> Section:
    """The grid's width by workload, and scores and times with and without it."""
    official = leaderboard(board.pool, board.hits)
    exact = corrected(board)
    # The curves keep the colours of the official order.
    names = [entry.submission for entry in official.entries]
    ordered = replace(exact, entries=tuple(exact.entry(name) for name in names))
    charts = [
        replace(profile_chart(official, "seconds"), title="As scored"),
        replace(profile_chart(ordered, "seconds"), title="Corrected"),
    ]
    return Section(
        "grid",
        "Evaluation grid",
        "A time to target is the time of an evaluation, so it is too long by up to one "
        "evaluation period. Corrected times are interpolated to where the metric crossed "
        "the target. Where the period is a large share of the best time, the grid decides "
        "about ranks. The score as it is remains the official one.",
        [
            _widths(official),
            _scores(official, exact),
            Charts(charts, names, is_wide=True, is_dashed=True),
            _times(official, exact),
        ],
    )


def _widths(board: Leaderboard) -> DataTable:
    rows = []
    for name in board.pool.scored_workloads:
        best = min(entry.seconds[name] for entry in board.entries)
        width = grid_seconds(board, name)
        share = width / best if math.isfinite(best) and best > 0 else math.nan
        rows.append(
            [
                name,
                duration_cell(best),
                duration_cell(width),
                percent_cell(share, is_shaded=True),
            ]
        )
    header = ["workload", "best time", "between evaluations", "share of the best time"]
    return plain_table(
        "grid_width",
        "Width of the evaluation grid",
        header,
        rows,
        "Between the evaluation at the target and the one before: median over the trials "
        "that reached it.",
    )


def _scores(official: Leaderboard, exact: Leaderboard) -> DataTable:
    rows = []
    for entry in official.entries:
        other = exact.entry(entry.submission)
        change = other.score - entry.score
        rows.append(
            [
                entry.submission,
                number_cell(entry.score),
                number_cell(other.score),
                Cell(f"{change:+.4f}", change),
                Cell(str(entry.rank), entry.rank),
                Cell(str(other.rank), other.rank),
            ]
        )
    header = ["submission", "score", "corrected", "change", "rank", "corrected rank"]
    return plain_table("grid_scores", "Scores with corrected times", header, rows)


def _times(official: Leaderboard, exact: Leaderboard) -> DataTable:
    names = [entry.submission for entry in official.entries]
    rows = [
        [
            workload,
            *(duration_cell(exact.entry(name).seconds[workload]) for name in names),
        ]
        for workload in official.pool.scored_workloads
    ]
    return plain_table(
        "grid_times", "Median corrected times", ["workload", *names], rows
    )
