"""What scores depend on besides times: the pool, r_max, studies, held-out rules."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import profiles
from .leaderboard import Leaderboard
from .times import median

RATIO_LIMITS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


@dataclass(frozen=True)
class Comparison:
    """Scores under several conditions; NaN where a submission takes no part."""

    submissions: tuple[str, ...]
    conditions: tuple[str, ...]
    scores: np.ndarray  # [condition, submission]


def leave_one_out(board: Leaderboard) -> Comparison:
    """The scores after each submission in turn has been taken out of the pool."""
    times, names = _times(board)
    scores = np.full((len(names) + 1, len(names)), np.nan)
    scores[0] = _scores(board, times)
    for i in range(len(names) if len(names) > 1 else 0):
        others = [j for j in range(len(names)) if j != i]
        scores[i + 1, others] = _scores(board, times[others])
    conditions = ("all", *(f"without {name}" for name in names))
    return Comparison(names, conditions, scores)


def by_ratio_limit(
    board: Leaderboard, limits: Sequence[float] = RATIO_LIMITS
) -> Comparison:
    """The scores for other limits of the performance ratio (r_max)."""
    times, names = _times(board)
    scores = np.stack([_scores(board, times, max_ratio=limit) for limit in limits])
    conditions = tuple(f"r_max {limit:g}" for limit in limits)
    return Comparison(names, conditions, scores)


def by_num_studies(board: Leaderboard) -> Comparison:
    """Mean scores over all ways to take only k of the studies."""
    table = board.hits.table("seconds", compat=board.compat)
    names = tuple(entry.submission for entry in board.entries)
    studies = table.study_times()[[table.submissions.index(name) for name in names]]
    total = studies.shape[-1]
    scores = []
    for count in range(1, total + 1):
        chosen = list(
            itertools.islice(itertools.combinations(range(total), count), 300)
        )
        resampled = np.stack([median(studies[..., list(c)]) for c in chosen])
        scores.append(_scores(board, resampled).mean(axis=0))
    conditions = tuple(f"studies: {count}" for count in range(1, total + 1))
    return Comparison(names, conditions, np.stack(scores))


def by_held_out_rule(board: Leaderboard) -> Comparison:
    """The scores with and without the rules about held-out workloads."""
    times, names = _times(board)
    num_bases = len(board.pool.bases)
    limit = board.pool.ruleset.max_performance_ratio
    without = profiles.score_times(times[:, :num_bases], (), limit, compat=board.compat)
    scores = np.stack([_scores(board, times), without])
    conditions = ("with held-out workloads", "base workloads only")
    return Comparison(names, conditions, scores)


def _times(board: Leaderboard) -> tuple[np.ndarray, tuple[str, ...]]:
    """[submission, workload] in the leaderboard's order, and the submissions' names."""
    names = board.pool.scored_workloads
    times = [[entry.seconds[name] for name in names] for entry in board.entries]
    if board.compat:
        table = board.hits.table("seconds", compat=True)
        order = [table.submissions.index(entry.submission) for entry in board.entries]
        times = table.workload_times()[order].tolist()
    return np.array(times), tuple(entry.submission for entry in board.entries)


def _scores(
    board: Leaderboard, times: np.ndarray, max_ratio: float | None = None
) -> np.ndarray:
    limit = max_ratio or board.pool.ruleset.max_performance_ratio
    return profiles.score_times(
        times, board.pool.base_index(), limit, compat=board.compat
    )
