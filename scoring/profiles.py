"""Times -> held-out rules -> performance ratios -> profiles and scores.

Every function takes arrays with any leading axes, so one call scores a thousand
resamples. Sources: arXiv 2306.07179, section 4 (performance profiles) and its held-out
rules.
"""

import math
from collections.abc import Sequence

import numpy as np


def remaining_times(
    times: np.ndarray, base_index: Sequence[int], max_ratio: float
) -> np.ndarray:
    """Times on the base workloads after the rules on held-out ones and slowness.

    times: [..., submission, workload], base workloads first, then one held-out workload
    for each number in `base_index`, which tells its base. Result: [..., submission,
    base], infinity where a time does not count. The order of the three steps matters.
    """
    times = times.copy()
    num_bases = times.shape[-1] - len(base_index)
    bases = list(base_index)
    held_out = times[..., num_bases:]
    held_out[np.isinf(times[..., bases])] = math.inf
    best = times.min(axis=-2, keepdims=True)
    times[times > max_ratio * best] = math.inf
    for column, base in enumerate(bases):
        missed = np.isinf(times[..., num_bases + column])
        times[..., base][missed] = math.inf
    return times[..., :num_bases]


def performance_ratios(times: np.ndarray) -> np.ndarray:
    """[..., submission, base] times -> ratios to the best; a miss is infinity."""
    best = times.min(axis=-2, keepdims=True)
    ratios = np.full(times.shape, math.inf)
    np.divide(times, best, out=ratios, where=np.isfinite(times) & (best > 0))
    # Also where the best time is 0: all that needed no time were equally fast.
    ratios[np.isfinite(times) & (times == best)] = 1.0
    return ratios


def benchmark_scores(ratios: np.ndarray, max_ratio: float) -> np.ndarray:
    """ratios: [..., base] -> share of the area under the profile from 1 to `max_ratio`.

    Exact: the profile is a step function, so each workload adds (max_ratio - ratio).
    """
    gained = np.maximum(0.0, max_ratio - ratios)
    scores: np.ndarray = gained.mean(axis=-1) / (max_ratio - 1)
    return scores


def compat_scores(
    ratios: np.ndarray, max_ratio: float, points: int = 100
) -> np.ndarray:
    """The published scorer's approximation: a trapezoid rule on `points` ratios."""
    grid = np.linspace(1.0, max_ratio, points)
    profiles = profile_at(ratios, grid)
    scores: np.ndarray = np.trapezoid(profiles, grid, axis=-1) / (max_ratio - 1)
    return scores


def profile_at(ratios: np.ndarray, taus: np.ndarray) -> np.ndarray:
    """Share of workloads solved within each `tau`: [..., base], [tau] -> [..., tau]."""
    within = ratios[..., None, :] <= taus[:, None]
    shares: np.ndarray = within.mean(axis=-1)
    return shares


def profile_steps(
    ratios: np.ndarray, max_ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """One profile as the corners of its step function.

    ratios: [base]. Returns `taus` and the `shares` that hold from each of them on; the
    first is 1 and the last `max_ratio`.
    """
    inside = ratios[ratios <= max_ratio]
    taus = np.unique(np.concatenate([[1.0, max_ratio], inside]))
    return taus, profile_at(ratios, taus)


def score_times(
    times: np.ndarray,
    base_index: Sequence[int],
    max_ratio: float,
    *,
    compat: bool = False,
) -> np.ndarray:
    """Benchmark scores, [..., submission], of times as `remaining_times` takes them."""
    ratios = performance_ratios(remaining_times(times, base_index, max_ratio))
    if compat:
        return compat_scores(ratios, max_ratio)
    return benchmark_scores(ratios, max_ratio)


def log_speedups(
    times: np.ndarray, reference: np.ndarray, budgets: np.ndarray
) -> np.ndarray:
    """Mean natural logarithm of reference time over time, over the workloads.

    times, reference: [..., workload] raw times; budgets: [workload]. A miss counts as
    the budget and 1 s; with an unknown budget the result is NaN.
    """
    penalty = np.where(np.isfinite(budgets), budgets + 1.0, math.nan)
    counted = np.where(np.isfinite(times), times, penalty)
    against = np.where(np.isfinite(reference), reference, penalty)
    with np.errstate(divide="ignore", invalid="ignore"):
        means: np.ndarray = np.log(against / counted).mean(axis=-1)
    return means
