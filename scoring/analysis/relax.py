"""How strict the targets are: scores and ranks under easier ones, and attainment curves.

Relaxed by x, a loss, perplexity or error rate may be x larger (times 1 + x), and an accuracy,
SSIM, BLEU or mean average precision x smaller (times 1 - x).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from algoperf.definition import Target

from ..figures import Chart, Charts, Curve, Figure, Mark
from ..leaderboard import Entry, Leaderboard, leaderboard
from ..report.document import Section, time_unit
from ..tables import Cell, DataTable, number_cell, plain_table
from ..times import find_hits, median
from .values import best_evaluation

SHARES = tuple(round(0.01 * i, 2) for i in range(21))
_SHOWN_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
_NUM_TARGETS = 60
_EASIEST = 0.2  # attainment curves start at targets relaxed by so much


def relaxed(target: Target, share: float) -> Target:
    """The target, easier by that share; negative values become easier too."""

    def easier(bound: float) -> float:
        return bound + float(target.cost(share * abs(bound)))

    test = target.test
    return replace(
        target,
        validation=easier(target.validation),
        test=None if test is None else easier(test),
    )


def relaxed_board(board: Leaderboard, share: float) -> Leaderboard:
    """The leaderboard if all targets were relaxed, those of held-out workloads too."""
    workloads = {
        name: replace(facts, target=relaxed(facts.target, share))
        for name, facts in board.pool.workloads.items()
    }
    pool = replace(board.pool, workloads=workloads)
    return leaderboard(pool, find_hits(pool), compat=board.compat)


def attainment(
    board: Leaderboard, submission: str, workload: str, bounds: np.ndarray
) -> np.ndarray:
    """[bound] median over studies of the time at which validation is better; infinity."""
    facts = board.pool.workloads[workload]
    target = facts.target
    studies = board.pool.studies.get((submission, workload), {})
    times = np.full((board.pool.num_studies, len(bounds)), math.inf)
    for k, number in enumerate(sorted(studies)):
        for trial in studies[number]:
            # A trial that counts for nothing reaches no bound either.
            if not trial.num_evaluations or not trial.counts:
                continue
            costs = target.cost(trial.metric(f"validation/{target.metric}"))
            seconds = trial.columns["accumulated_submission_time"]
            is_usable = np.isfinite(costs) & (seconds <= facts.budget_seconds)
            costs, seconds = costs[is_usable], seconds[is_usable]
            if not len(costs):
                continue
            best = np.minimum.accumulate(costs)  # falls, so its negative is sorted
            at = np.searchsorted(-best, -target.cost(bounds), side="right")
            reached = np.append(seconds, math.inf)[at]
            times[k] = np.minimum(times[k], reached)
    return median(times.T)


def report(board: Leaderboard) -> Section:
    """Scores and ranks against the relaxation, and a chart of attainment by workload."""
    names = [entry.submission for entry in board.entries]
    boards = {share: relaxed_board(board, share) for share in SHARES}
    score = _figure("Score", "score", names, boards, lambda entry: entry.score)
    rank = _figure(
        "Rank", "rank (1 is the best)", names, boards, lambda e: float(e.rank)
    )
    shown = range(1, len(names) + 1, math.ceil(len(names) / 10))
    best_on_top = replace(
        rank,
        y_range=(len(names) + 0.3, 0.7),
        y_ticks=[(float(i), str(i)) for i in shown],
    )
    charts = [score.chart(), best_on_top.chart()]
    attained = [_attainment_chart(board, workload) for workload in board.pool.bases]
    return Section(
        "relax",
        "Strictness of the targets",
        "What the leaderboard would be with easier targets: losses and error rates may be "
        "larger, accuracies smaller by that share. An order that changes early depends on "
        "where exactly the targets are. Below, for any target the time at which each "
        "submission reaches it in the median study; the dashed line is the target.",
        [
            _table(names, boards),
            Charts(charts, names, is_wide=True, is_dashed=True),
            Charts(attained, names, is_dashed=True),
        ],
    )


def _table(names: Sequence[str], boards: Mapping[float, Leaderboard]) -> DataTable:
    rows = []
    for share in _SHOWN_SHARES:
        entries = [boards[share].entry(name) for name in names]
        cells = [
            replace(
                number_cell(e.score), detail=f"rank {e.rank}, {e.num_solved} solved"
            )
            for e in entries
        ]
        rows.append([Cell(f"{share:.0%}", share), *cells])
    return plain_table(
        "relaxed_scores", "Scores with relaxed targets", ["relaxed by", *names], rows
    )


def _figure(
    title: str,
    label: str,
    names: Sequence[str],
    boards: Mapping[float, Leaderboard],
    value: Callable[[Entry], float],
) -> Figure:
    curves = [
        Curve(
            series,
            [100 * share for share in SHARES],
            [value(boards[share].entry(name)) for share in SHARES],
            kind="line",
        )
        for series, name in enumerate(names)
    ]
    return Figure(
        title=title,
        description=(
            f"The {label} of {len(names)} submissions with all targets relaxed by 0 to "
            "20 percent; the table above has the numbers."
        ),
        x_label="targets relaxed by, percent",
        y_label=label,
        curves=curves,
    )


def _attainment_chart(board: Leaderboard, workload: str) -> Chart:
    target = board.pool.target(workload)
    bounds = _bounds(board, workload)
    times = [
        attainment(board, entry.submission, workload, bounds) for entry in board.entries
    ]
    longest = max((t for row in times for t in row if math.isfinite(t)), default=0.0)
    unit = time_unit(longest)
    curves = [
        Curve(series, bounds.tolist(), (row / unit.seconds).tolist(), kind="line")
        for series, row in enumerate(times)
    ]
    return Figure(
        title=workload,
        description=(
            f"The time at which the median study of each submission is better than any "
            f"validation {target.metric} from {bounds[0]:.4g} to {bounds[-1]:.4g}, with "
            f"the target {target.validation:.4g} as a dashed line."
        ),
        x_label=f"target: validation {target.metric}",
        subtitle=f"{target.better} is harder",
        y_label=f"time to target, {unit.plural}",
        curves=curves,
        marks=[Mark("x", target.validation, "target")],
    ).chart()


def _bounds(board: Leaderboard, workload: str) -> np.ndarray:
    """Targets from the relaxed one to the best value that anybody reached."""
    target = board.pool.target(workload)
    easiest = relaxed(target, _EASIEST).validation
    values = [target.validation]
    for entry in board.entries:
        studies = board.pool.studies.get((entry.submission, workload), {})
        values += [
            best_evaluation(trial, target).validation
            for study in studies.values()
            for trial in study
        ]
    finite = [value for value in values if math.isfinite(value)]
    hardest = min(finite, key=target.cost)
    return np.linspace(easiest, hardest, _NUM_TARGETS)
