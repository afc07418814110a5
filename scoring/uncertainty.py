"""How far scores, times and ranks move with other studies and trials: a bootstrap.

Within every submission and workload the studies are drawn again with replacement, and
within every drawn study its trials; the whole pool is then scored anew. A missing study
or trial is a miss and is drawn like the others.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from algoperf.errors import BadSettings

from . import profiles
from .leaderboard import Leaderboard, base_budgets
from .tables import Interval
from .times import TimesTable, median, study_times

# Resamples in memory at once: 100 x 20 submissions x 16 workloads x 5 studies x 20
# trials are 26 MB.
_CHUNK = 100
_TIE = 1e-12


@dataclass(frozen=True)
class Uncertainty:
    """Intervals and probabilities; submissions in the leaderboard's order."""

    submissions: tuple[str, ...]
    level: float
    num_resamples: int
    scores: Mapping[str, Interval]
    seconds: Mapping[str, Mapping[str, Interval]]  # by submission and workload
    speedups: Mapping[str, Interval]  # empty without a reference
    wins: np.ndarray  # [i, j] share of resamples in which i scores higher than j
    ties: np.ndarray  # [i, j] share in which both score the same
    ranks: (
        np.ndarray
    )  # [i, r] share in which i has rank r + 1; equal scores share a rank


def bootstrap(
    board: Leaderboard,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.9,
) -> Uncertainty:
    """Intervals that hold `level` of the resamples, and who wins how often."""
    if num_resamples < 1 or not 0 < level < 1:
        raise BadSettings(
            f"A bootstrap needs at least 1 resample and a level between 0 and 1, not "
            f"{num_resamples} and {level}."
        )
    table = board.hits.table("seconds", compat=board.compat)
    order = [table.submissions.index(entry.submission) for entry in board.entries]
    chunks = list(_resampled(table, num_resamples, np.random.default_rng(seed)))
    times = np.concatenate(chunks)[:, order]  # [resample, submission, workload]
    scores = profiles.score_times(
        times,
        board.pool.base_index(),
        board.pool.ruleset.max_performance_ratio,
        compat=board.compat,
    )
    names = tuple(entry.submission for entry in board.entries)
    higher = scores[:, :, None] - scores[:, None, :]
    ranks = 1 + (higher < -_TIE).sum(axis=2)  # [resample, submission]
    return Uncertainty(
        submissions=names,
        level=level,
        num_resamples=num_resamples,
        scores=dict(zip(names, _intervals(scores, level), strict=True)),
        seconds={
            name: dict(
                zip(table.workloads, _intervals(times[:, i], level), strict=True)
            )
            for i, name in enumerate(names)
        },
        speedups=_speedup_intervals(board, times, level),
        wins=(higher > _TIE).mean(axis=0),
        ties=(np.abs(higher) <= _TIE).mean(axis=0),
        ranks=np.stack(
            [(ranks == r + 1).mean(axis=0) for r in range(len(names))], axis=1
        ),
    )


def _resampled(
    table: TimesTable, num_resamples: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Times of resampled trials, [resample, submission, workload]."""
    num_submissions, num_workloads, num_studies, num_trials = table.scored.shape
    s = np.arange(num_submissions)[:, None, None, None]
    w = np.arange(num_workloads)[:, None, None]
    for start in range(0, num_resamples, _CHUNK):
        count = min(_CHUNK, num_resamples - start)
        shape = (count, num_submissions, num_workloads, num_studies)
        k = rng.integers(num_studies, size=shape)[..., None]
        t = rng.integers(num_trials, size=(*shape, num_trials))
        yield median(study_times(table.chosen_by[s, w, k, t], table.scored[s, w, k, t]))


def _intervals(values: np.ndarray, level: float) -> list[Interval]:
    """The middle `level` of the first axis.

    Resamples are taken as they are: nothing is made up between a number and infinity.
    """
    ordered = np.sort(values, axis=0)
    outside = (1 - level) / 2
    last = len(ordered) - 1
    low = ordered[math.floor(outside * last)]
    high = ordered[math.ceil((1 - outside) * last)]
    return [(float(a), float(b)) for a, b in zip(low, high, strict=True)]


def _speedup_intervals(
    board: Leaderboard, times: np.ndarray, level: float
) -> dict[str, Interval]:
    if board.reference is None:
        return {}
    names = [entry.submission for entry in board.entries]
    base_times = times[..., : len(board.pool.bases)]
    against = base_times[:, names.index(board.reference), None]
    factors = np.exp(
        profiles.log_speedups(base_times, against, base_budgets(board.pool))
    )
    intervals = _intervals(factors, level)
    unknown = np.isnan(factors).any(axis=0)  # a miss without a known budget
    return {
        name: (math.nan, math.nan) if unknown[i] else intervals[i]
        for i, name in enumerate(names)
    }
