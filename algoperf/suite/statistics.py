"""Ratios of steps to target: estimates, intervals, a test. Everything is on a log scale.

The estimate is the geometric mean, over workloads, of the ratios of two submissions' steps. Its
interval comes from a bootstrap in two levels: workloads are drawn with replacement, then the
seeds of each. With few workloads such intervals are too short; so deviations from the estimate are
widened as Student's t and the missing degree of freedom ask for. Where two submissions ran with
the same seeds, a seed is drawn for both at once.

A miss counts as `MISS_FACTOR` times the step hint, and two misses as equal. As that number is
a convention, a verdict stands only if it also holds with the least that a miss can mean, the hint.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.errors import BadLogs
from algoperf.suite.runs import Results, Run

MISS_FACTOR = 2.0
LEVEL = 0.95
# Ratios closer to 1 than the grid of evaluations cannot be told from it.
TIE = math.log(1.02)
_RESAMPLES = 4_000
_PERMUTATIONS = 9_999
_EQUAL = 1e-12  # differences of sums of the same numbers in another order

BETTER, WORSE, EQUAL, UNDECIDED = "better", "worse", "tie", "undecided"


@dataclass(frozen=True)
class Sample:
    """Log steps to target of two submissions on one workload; `first` is to be smaller."""

    workload: str
    first: np.ndarray  # float64 [seeds]
    second: np.ndarray  # float64 [seeds]; of the same seeds if paired
    is_paired: bool

    @property
    def difference(self) -> float:
        """Logarithm of the ratio first / second."""
        return float(self.first.mean() - self.second.mean())

    @property
    def residuals(self) -> np.ndarray:
        """Deviations from the means: of the differences if paired, else of both."""
        if self.is_paired:
            differences: np.ndarray = self.first - self.second
            deviations: np.ndarray = differences - differences.mean()
            return deviations
        parts = (values - values.mean() for values in (self.first, self.second))
        return np.concatenate(list(parts))

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the residuals."""
        return len(self.residuals) - (1 if self.is_paired else 2)

    @property
    def share(self) -> float:
        """The difference's variance as a multiple of one residual's."""
        if self.is_paired:
            return 1 / len(self.first)
        return 1 / len(self.first) + 1 / len(self.second)


def log_steps(run: Run, miss_factor: float = MISS_FACTOR) -> float:
    """Logarithm of the steps to target, with what counts for a miss."""
    return math.log(run.steps if run.is_hit else miss_factor * run.last_step)


def samples(
    first: Results,
    second: Results,
    workloads: Sequence[str],
    miss_factor: float = MISS_FACTOR,
) -> list[Sample]:
    """One sample for each workload; both submissions must have run on all of them."""
    found = []
    for name in workloads:
        if not (first.num_seeds(name) and second.num_seeds(name)):
            missing = second if first.num_seeds(name) else first
            raise BadLogs(f"{missing.name} did not run on {name}.")
        a, b = first.runs[name], second.runs[name]
        common = [k for k in sorted(a.keys() & b.keys()) if a[k].seed == b[k].seed]
        is_paired = len(common) == min(len(a), len(b))
        keys_a, keys_b = (common, common) if is_paired else (sorted(a), sorted(b))
        found.append(
            Sample(
                name,
                np.array([log_steps(a[k], miss_factor) for k in keys_a]),
                np.array([log_steps(b[k], miss_factor) for k in keys_b]),
                is_paired,
            )
        )
    return found


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution; infinite without a degree of freedom.

    With t = sqrt(freedom) tan(angle), its density in the angle is cos(angle) ** (freedom - 1).
    """
    if freedom < 1:
        return math.inf
    # Dense where one degree of freedom has its far quantiles.
    angle = 0.5 * np.pi * (1 - np.geomspace(1.0, 1e-7, 20_001))
    density = np.cos(angle) ** (freedom - 1)
    steps = np.diff(angle) * (density[1:] + density[:-1]) / 2
    upper = np.concatenate([[0.0], np.cumsum(steps)])
    shares = 0.5 + 0.5 * upper / upper[-1]
    found = np.interp(max(probability, 1 - probability), shares, angle)
    value = math.sqrt(freedom) * math.tan(float(found))
    return value if probability >= 0.5 else -value


def resampled(found: Sequence[Sample], seed: int = 0) -> np.ndarray:
    """Log ratios of resampled workloads and seeds, [resample], around the estimate."""
    rng = np.random.default_rng(seed)
    by_workload = np.stack([_resampled_seeds(sample, rng) for sample in found], axis=1)
    drawn = rng.integers(len(found), size=by_workload.shape)
    means: np.ndarray = np.take_along_axis(by_workload, drawn, axis=1).mean(axis=1)
    return means


def _resampled_seeds(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    """[resample] log ratios on one workload."""

    def draw(values: np.ndarray) -> np.ndarray:
        return rng.integers(len(values), size=(_RESAMPLES, len(values)))

    chosen = draw(sample.first)
    other = chosen if sample.is_paired else draw(sample.second)
    means: np.ndarray = sample.first[chosen].mean(axis=1) - sample.second[other].mean(
        axis=1
    )
    return means


@dataclass(frozen=True)
class Estimate:
    """A log ratio with its interval and how likely it is below 0."""

    log_ratio: float
    low: float
    high: float
    p_better: (
        float  # share of resamples in which the first needs fewer steps; ties half
    )

    @property
    def ratio(self) -> float:
        """Steps of the first as a multiple of the second's."""
        return math.exp(self.log_ratio)

    @property
    def interval(self) -> tuple[float, float]:
        """Of the ratio."""
        return math.exp(self.low), math.exp(self.high)

    @property
    def verdict(self) -> str:
        """Better, worse, a tie, or undecided."""
        if self.low >= -TIE and self.high <= TIE:
            return EQUAL
        if self.high < 0:
            return BETTER
        return WORSE if self.low > 0 else UNDECIDED


def estimate(found: Sequence[Sample], level: float = LEVEL) -> Estimate:
    """Geometric mean over workloads, with the interval of seeds and workloads."""
    center = float(np.mean([sample.difference for sample in found]))
    deviations = (resampled(found) - center) * _widening(found, level)
    outside = (1 - level) / 2
    low, high = np.quantile(deviations, [outside, 1 - outside])
    if _has_one_run(found):
        low, high = -math.inf, math.inf
    values = center + deviations
    is_below, is_same = values < -_EQUAL, np.abs(values) <= _EQUAL
    share = float(is_below.mean() + is_same.mean() / 2)
    # The percentiles of few numbers need not enclose their mean.
    return Estimate(
        center, min(center, center + low), max(center, center + high), share
    )


def _has_one_run(found: Sequence[Sample]) -> bool:
    return len(found) == 1 and found[0].freedom < 1


def _widening(found: Sequence[Sample], level: float) -> float:
    """By what deviations of resamples are multiplied: of workloads, or of one's seeds."""
    freedom = len(found) - 1 if len(found) > 1 else found[0].freedom
    if freedom < 1:
        return 1.0
    normal = t_quantile((1 + level) / 2, 1_000)
    size = freedom + 1
    return t_quantile((1 + level) / 2, freedom) / normal * math.sqrt(size / freedom)


def pooled_deviation(found: Sequence[Sample]) -> tuple[float, int]:
    """Standard deviation of one seed's log ratio, pooled over workloads; its freedom."""
    freedom = sum(sample.freedom for sample in found)
    if freedom < 1:
        return math.nan, 0
    squares = sum(float((sample.residuals**2).sum()) for sample in found)
    return math.sqrt(squares / freedom), freedom


def seed_interval(
    sample: Sample, found: Sequence[Sample], level: float = LEVEL
) -> tuple[float, float]:
    """Interval of the ratio on one workload: of seeds, with the spread of all workloads."""
    deviation, freedom = pooled_deviation(found)
    if not freedom:
        return 0.0, math.inf
    error = t_quantile((1 + level) / 2, freedom) * deviation * math.sqrt(sample.share)
    return math.exp(sample.difference - error), math.exp(sample.difference + error)


def p_value(found: Sequence[Sample], seed: int = 0) -> float:
    """Two-sided permutation test of "no difference on these workloads".

    Paired seeds swap the two submissions' runs; other runs swap submissions freely.
    """
    rng = np.random.default_rng(seed)
    observed = abs(sum(sample.difference for sample in found))
    sums = np.zeros(_PERMUTATIONS)
    for sample in found:
        sums += _permuted(sample, rng)
    extreme = int((np.abs(sums) >= observed - _EQUAL).sum())
    return (1 + extreme) / (1 + _PERMUTATIONS)


def _permuted(sample: Sample, rng: np.random.Generator) -> np.ndarray:
    if sample.is_paired:
        differences = sample.first - sample.second
        signs = rng.choice([-1.0, 1.0], size=(_PERMUTATIONS, len(differences)))
        means: np.ndarray = (signs * differences).mean(axis=1)
        return means
    both = np.concatenate([sample.first, sample.second])
    order = rng.permuted(np.tile(both, (_PERMUTATIONS, 1)), axis=1)
    count = len(sample.first)
    result: np.ndarray = order[:, :count].mean(axis=1) - order[:, count:].mean(axis=1)
    return result
