"""What a set of runs says: each comparison, the leaderboard, and what was not run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.errors import BadLogs
from algoperf.suite import baselines, design
from algoperf.suite.power import Power, power
from algoperf.suite.runs import Results
from algoperf.suite.statistics import (
    LEVEL,
    UNDECIDED,
    Estimate,
    Sample,
    estimate,
    p_value,
    samples,
    seed_interval,
)

_LEAST_MISS = 1.0  # a miss took at least the step hint


@dataclass(frozen=True)
class Comparison:
    """Steps to target of `first` as a multiple of those of `second`."""

    first: Results
    second: Results
    workloads: tuple[str, ...]  # that both ran on
    level: float  # of the intervals
    samples: tuple[Sample, ...]
    found: Estimate
    with_least_miss: Estimate  # misses counted as the step hint
    p_value: float
    power: Power

    @property
    def verdict(self) -> str:
        """Whether `first` is better; undecided if that hangs on what a miss counts."""
        verdict = self.found.verdict
        return verdict if verdict == self.with_least_miss.verdict else UNDECIDED

    @property
    def misses(self) -> tuple[int, int]:
        """Runs of both that missed the target."""
        return self.first.misses(self.workloads), self.second.misses(self.workloads)

    @property
    def is_paired(self) -> bool:
        """Whether both ran with the same seeds on every workload."""
        return all(sample.is_paired for sample in self.samples)

    def seed_interval(self, sample: Sample) -> tuple[float, float]:
        """Interval of the ratio on one workload, of seeds only."""
        return seed_interval(sample, self.samples, self.level)

    @property
    def seconds_ratio(self) -> float:
        """Geometric mean of the ratios of seconds; NaN where they do not compare.

        Only of workloads on which both have seconds of this machine, and no miss.
        """
        if not (self.first.is_measured_here and self.second.is_measured_here):
            return math.nan
        ratios = [
            _mean_log_seconds(self.first, name) - _mean_log_seconds(self.second, name)
            for name in self.workloads
        ]
        return math.exp(float(np.mean(ratios)))


def _mean_log_seconds(results: Results, workload: str) -> float:
    return float(
        np.mean([np.log(run.seconds) for run in results.runs[workload].values()])
    )


def compare(
    first: Results, second: Results, workloads: Sequence[str], level: float = LEVEL
) -> Comparison:
    """Compares on the workloads that both ran on; `BadLogs` if there is none."""
    common = tuple(name for name in workloads if first.has(name) and second.has(name))
    if not common:
        raise BadLogs(
            f"{first.name} and {second.name} have no workload in common, of "
            f"{', '.join(workloads)}. Run both on the same workloads."
        )
    found = samples(first, second, common)
    return Comparison(
        first,
        second,
        common,
        level,
        tuple(found),
        estimate(found, level),
        estimate(samples(first, second, common, _LEAST_MISS), level),
        p_value(found),
        power(found),
    )


@dataclass(frozen=True)
class Standing:
    """A row of the leaderboard."""

    results: Results
    against_reference: Comparison | None  # None: it is the reference
    misses: int

    @property
    def ratio(self) -> float:
        """Steps as a multiple of the reference's."""
        return self.against_reference.found.ratio if self.against_reference else 1.0


@dataclass(frozen=True)
class Board:
    """All that is known of a submission and the baselines on the chosen workloads."""

    own: Results
    workloads: tuple[str, ...]
    level: float
    comparisons: tuple[Comparison, ...]  # of `own` with each other submission
    standings: tuple[Standing, ...]  # those that ran on all workloads, best first
    not_run: Mapping[str, Sequence[str]]  # workloads that a baseline lacks
    reference: str = design.REFERENCE
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> Comparison | None:
        """The comparison with the reference; None where there is none."""
        for comparison in self.comparisons:
            if comparison.second.name == self.reference:
                return comparison
        return None


def make_board(
    own: Results,
    others: Sequence[Results],
    workloads: Sequence[str],
    *,
    reference: str = design.REFERENCE,
    level: float = LEVEL,
    names_expected: bool = True,
    notes: Sequence[str] = (),
) -> Board:
    """Compares a submission with others, and ranks those that ran on all workloads.

    names_expected: whether baselines that are missing altogether are to be named.
    """
    run_on = [name for name in workloads if own.has(name)]
    usable = [other for other in others if any(map(other.has, run_on))]
    comparisons = tuple(compare(own, other, run_on, level) for other in usable)
    missing = baselines.gaps(others, workloads, seeds=1) if names_expected else {}
    return Board(
        own,
        tuple(workloads),
        level,
        tuple(sorted(comparisons, key=lambda c: c.found.log_ratio)),
        tuple(_standings([own, *others], workloads, reference, level)),
        {**missing, **_own_gap(own, workloads)},
        reference,
        tuple(notes),
    )


def _own_gap(own: Results, workloads: Sequence[str]) -> dict[str, list[str]]:
    lacking = [name for name in workloads if not own.has(name)]
    return {own.name: lacking} if lacking else {}


def _standings(
    everyone: Sequence[Results], workloads: Sequence[str], reference: str, level: float
) -> list[Standing]:
    whole = [r for r in everyone if all(map(r.has, workloads))]
    base = next((results for results in whole if results.name == reference), None)
    if base is None:
        return []
    rows = [
        Standing(
            results,
            None if results is base else compare(results, base, workloads, level),
            results.misses(workloads),
        )
        for results in whole
    ]
    return sorted(rows, key=lambda row: row.ratio)
