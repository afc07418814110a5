"""Trials -> times to target of studies -> one time per submission and workload.

A miss is infinity and takes part in the median. Arrays have the axes [submission,
workload, study, trial], padded with misses, so that resampling them is plain indexing.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from algoperf.definition import Target
from algoperf.errors import BadLogs
from algoperf.logs import STEP, SUBMISSION_SECONDS, Trial, TrialId

from .pool import Pool
from .targets import ScoredWorkload

Measure = Literal["seconds", "steps"]
EvaluatedSplit = Literal["validation", "test"]
MEASURES: tuple[Measure, ...] = ("seconds", "steps")


@dataclass(frozen=True)
class Hit:
    """The first evaluation that reached a target; all infinite if none did."""

    seconds: float = math.inf
    steps: float = math.inf
    index: float = math.inf  # of the evaluation within the trial, from 0


MISS = Hit()


def first_hit(
    trial: Trial,
    target: Target,
    split: EvaluatedSplit,
    budget_seconds: float = math.inf,
) -> Hit:
    """When `trial` first reached the target of `split` within the budget.

    A non-finite metric reaches nothing; an invalid or unfinished trial has reached
    nothing.
    """
    bound = target.bound(split)
    if not trial.num_evaluations or not trial.counts or bound is None:
        return MISS
    values = trial.metric(f"{split}/{target.metric}")
    better = target.cost(values) < target.cost(bound)
    if not better.any():
        return MISS
    seconds = trial.columns[SUBMISSION_SECONDS]
    reached = np.flatnonzero(better & np.isfinite(values) & (seconds <= budget_seconds))
    if not len(reached):
        return MISS
    first = int(reached[0])  # evaluations are in the order of steps and seconds
    return Hit(float(seconds[first]), float(trial.columns[STEP][first]), float(first))


HitRule = Callable[[Trial, Target, EvaluatedSplit, float], Hit]


@dataclass(frozen=True)
class TimesTable:
    """Times to target of every trial, [submission, workload, study, trial] float64."""

    submissions: tuple[str, ...]
    workloads: tuple[str, ...]  # base workloads, then held-out ones
    chosen_by: np.ndarray  # the trial with the smallest value is the study's
    scored: np.ndarray  # what the chosen trial counts with

    def study_times(self) -> np.ndarray:
        """[submission, workload, study]: of the chosen trial; infinity is a miss."""
        return study_times(self.chosen_by, self.scored)

    def workload_times(self) -> np.ndarray:
        """[submission, workload]: median over the studies."""
        return median(self.study_times())


@dataclass(frozen=True)
class Hits:
    """Both targets' hits of all trials of a pool."""

    pool: Pool
    validation: Mapping[TrialId, Hit]  # first evaluation at the validation target
    _tables: dict[tuple[Measure, bool], TimesTable] = field(repr=False)

    def table(
        self, measure: Measure = "seconds", *, compat: bool = False
    ) -> TimesTable:
        """Times in that measure under the pool's ruleset.

        `compat` repeats an error of the published scorer: the chosen trial of a study
        is the one with the smallest number of evaluations until the target, not the
        smallest time.
        """
        return self._tables[measure, compat]


def find_hits(pool: Pool, first: HitRule = first_hit) -> Hits:
    """Looks up when every trial reached the targets that the ruleset scores.

    first: what counts as the time of a hit; analyses look at others than the official
    one.
    """
    split = pool.ruleset.scored_split
    _check_targets(pool, split)
    shape = (
        len(pool.submissions),
        len(pool.scored_workloads),
        pool.num_studies,
        pool.num_trials,
    )
    chosen = {key: np.full(shape, math.inf) for key in ("seconds", "steps", "index")}
    scored = {key: np.full(shape, math.inf) for key in MEASURES}
    validation: dict[TrialId, Hit] = {}
    for s, submission in enumerate(pool.submissions):
        for w, name in enumerate(pool.scored_workloads):
            facts = pool.workloads[name]
            studies = pool.studies.get((submission, name), {})
            for k, number in enumerate(sorted(studies)):
                for t, trial in enumerate(studies[number]):
                    choice, counts = _hits_of(trial, facts, split, first)
                    validation[trial.id] = choice
                    for key, values in chosen.items():
                        values[s, w, k, t] = getattr(choice, key)
                    for measure, values in scored.items():
                        values[s, w, k, t] = getattr(counts, measure)
    names = (pool.submissions, pool.scored_workloads)
    tables = {
        (measure, compat): TimesTable(
            *names, chosen["index" if compat else measure], scored[measure]
        )
        for measure in MEASURES
        for compat in (False, True)
    }
    return Hits(pool, validation, tables)


def _hits_of(
    trial: Trial, facts: ScoredWorkload, split: EvaluatedSplit, first: HitRule
) -> tuple[Hit, Hit]:
    """By what the trial is chosen, and what it counts with."""
    choice = first(trial, facts.target, "validation", facts.budget_seconds)
    if split == "validation" or choice is MISS or facts.target.test is None:
        return choice, choice
    return choice, first(trial, facts.target, split, facts.budget_seconds)


def _check_targets(pool: Pool, split: EvaluatedSplit) -> None:
    bounds = {name: pool.target(name).bound(split) for name in pool.scored_workloads}
    without = [n for n, b in bounds.items() if b is not None and math.isnan(b)]
    if without:
        raise BadLogs(
            f"Ruleset {pool.ruleset.name!r} scores the time to the {split} target, and "
            f"none is known for: {', '.join(without)}. Give it in the targets file, or "
            "score by another ruleset (--rules v0.5)."
        )


def study_times(chosen_by: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Time of each study's chosen trial.

    Both arguments: [..., trial]; the result lacks the last axis. Of trials that are
    equally early, the one that counts with the smaller time is taken.
    """
    if not chosen_by.shape[-1]:
        return np.full(chosen_by.shape[:-1], math.inf)
    earliest = chosen_by.min(axis=-1, keepdims=True)
    is_chosen = (chosen_by == earliest) & np.isfinite(chosen_by)
    times: np.ndarray = np.where(is_chosen, scored, math.inf).min(axis=-1)
    return times


def median(times: np.ndarray) -> np.ndarray:
    """Median over the last axis; infinities take part; infinity if it is empty."""
    count = times.shape[-1]
    if not count:
        return np.full(times.shape[:-1], math.inf)
    ordered = np.sort(times, axis=-1)
    middle: np.ndarray = (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2
    return middle
