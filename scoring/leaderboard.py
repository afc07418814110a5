"""`score` turns trials into a `Leaderboard`, the value that everything prints from."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.errors import UnknownName, near
from algoperf.logs import Trial
from algoperf.rulesets import Ruleset, TuningRuleset

from . import profiles
from .outcomes import outcome_counts
from .pool import Pool, make_pool
from .tables import DataTable, duration, plain_table, printable
from .targets import TargetSet
from .times import Hits, Measure, find_hits

# Scores that differ by less are equal: sums of the same ratios in another order.
TIE = 1e-12


@dataclass(frozen=True)
class Speedup:
    """Geometric-mean speed-up over the reference submission on the base workloads."""

    factor: float  # above 1 is faster; NaN where a miss has no known budget
    misses: tuple[str, ...]  # workloads on which the budget + 1 s was counted
    reference_misses: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One submission's line. Mappings are by workload; infinity is a miss."""

    submission: str
    rank: int  # from 1; equal scores share a rank
    score: float
    score_by_steps: float
    seconds: Mapping[str, float]  # raw medians, base and held-out workloads
    steps: Mapping[str, float]
    ratios: Mapping[str, float]  # base workloads, after the rules about held-out ones
    ratios_by_steps: Mapping[str, float]
    outcomes: Mapping[str, int]
    speedup: Speedup | None = None

    @property
    def num_solved(self) -> int:
        """Number of base workloads that count."""
        return sum(math.isfinite(ratio) for ratio in self.ratios.values())


@dataclass(frozen=True)
class Leaderboard:
    """Scores of a pool of submissions, best first, and what they come from."""

    pool: Pool
    hits: Hits
    entries: tuple[Entry, ...]
    compat: bool
    reference: str | None = None

    @property
    def scores(self) -> dict[str, float]:
        """Benchmark score by submission."""
        return {entry.submission: entry.score for entry in self.entries}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may mislead a reader of this leaderboard."""
        return self.pool.warnings

    def entry(self, submission: str) -> Entry:
        """The line of one submission."""
        for entry in self.entries:
            if entry.submission == submission:
                return entry
        known = [entry.submission for entry in self.entries]
        raise UnknownName(
            f"No submission named {submission!r} here.{near(submission, known)} "
            f"There are: {', '.join(known)}."
        )

    def ratios(self, measure: Measure = "seconds") -> dict[str, np.ndarray]:
        """By submission: [base workload] in the order of `pool.bases`."""
        attribute = "ratios" if measure == "seconds" else "ratios_by_steps"
        return {
            entry.submission: np.array(
                [getattr(entry, attribute)[name] for name in self.pool.bases]
            )
            for entry in self.entries
        }

    def to_json(self) -> str:
        """The whole leaderboard; a miss is null."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """The leaderboard in JSON's types."""
        pool = self.pool
        return {
            "ruleset": pool.ruleset.name,
            "tuning_ruleset": pool.tuning,
            "tier": pool.tier,
            "compat": self.compat,
            "max_performance_ratio": pool.ruleset.max_performance_ratio,
            "base_workloads": list(pool.bases),
            "held_out_workloads": list(pool.held_out),
            "num_studies": pool.num_studies,
            "num_trials": pool.num_trials,
            "reference": self.reference,
            "warnings": list(pool.warnings),
            "notes": list(pool.notes),
            "submissions": [_entry_dict(entry) for entry in self.entries],
        }

    def table(self) -> DataTable:
        """Rank, submission, scores and solved workloads."""
        num_bases = len(self.pool.bases)
        header = ["rank", "submission", "score", "by steps", "solved"]
        header += [f"speed-up over {self.reference}"] if self.reference else []
        rows = [
            [
                str(entry.rank),
                entry.submission,
                f"{entry.score:.4f}",
                f"{entry.score_by_steps:.4f}",
                f"{entry.num_solved}/{num_bases}",
                *([_speedup_words(entry.speedup)] if entry.speedup else []),
            ]
            for entry in self.entries
        ]
        return plain_table("leaderboard", "Leaderboard" + self._label(), header, rows)

    def times_table(self) -> DataTable:
        """Median time to target: a row per workload, a column per submission."""
        header = ["workload", *(entry.submission for entry in self.entries)]
        held_out = set(self.pool.held_out)
        rows = [
            [
                f"{name} (held out)" if name in held_out else name,
                *(_time_words(entry, name) for entry in self.entries),
            ]
            for name in self.pool.scored_workloads
        ]
        title = "Median time to target (x: not counted in the score)"
        return plain_table("times", title, header, rows)

    def outcomes_table(self) -> DataTable:
        """How the trials of each submission ended."""
        names = [
            name
            for name in self.entries[0].outcomes
            if any(entry.outcomes[name] for entry in self.entries)
        ]
        rows = [
            [entry.submission, *(str(entry.outcomes[name]) for name in names)]
            for entry in self.entries
        ]
        header = ["submission", *names]
        return plain_table("outcomes", "Trials by outcome", header, rows)

    def text(self) -> str:
        """What `algoperf score` prints."""
        parts = [
            t.text() for t in (self.table(), self.times_table(), self.outcomes_table())
        ]
        parts += [f"warning: {printable(text)}" for text in self.pool.warnings]
        parts += [f"note: {printable(text)}" for text in self.pool.notes]
        return "\n\n".join(parts[:3]) + "\n\n" + "\n".join([*parts[3:], ""])

    def _label(self) -> str:
        pool = self.pool
        label = f", rules {pool.ruleset.name}, {pool.tuning} tuning"
        label += ", as the published scorer computes" if self.compat else ""
        return label + (
            " - DEVELOPMENT TIER, no benchmark result" if pool.tier != "full" else ""
        )


def score(
    trials: Sequence[Trial],
    ruleset: Ruleset | str,
    *,
    tuning: TuningRuleset | None = None,
    targets: TargetSet | Path | str | None = None,
    compat: bool = False,
    strict: bool = False,
    base_workloads: Sequence[str] | None = None,
    held_out: Sequence[str] | None = None,
    num_studies: int | None = None,
    reference: str | None = None,
    left_out: Sequence[str] = (),
) -> Leaderboard:
    """Scores all submissions in `trials` against each other.

    `targets`: a file of targets, else the definitions and the logs' own records are
    used. `compat` reproduces the published scorer, with its two bugs. `strict` treats
    warnings as errors. `reference`: the submission that speed-ups are measured against. `left_out`:
    folders that were skipped. BadLogs and UnknownName say what is wrong with the
    logs.
    """
    pool = make_pool(
        trials,
        ruleset,
        tuning=tuning,
        targets=targets,
        base_workloads=base_workloads,
        held_out=held_out,
        num_studies=num_studies,
        strict=strict,
        left_out=left_out,
    )
    return leaderboard(pool, find_hits(pool), compat=compat, reference=reference)


def leaderboard(
    pool: Pool, hits: Hits, *, compat: bool = False, reference: str | None = None
) -> Leaderboard:
    """Scores a pool whose times to target are known."""
    if reference is not None and reference not in pool.submissions:
        raise UnknownName(
            f"The reference submission {reference!r} is not in these "
            f"logs.{near(reference, pool.submissions)} There are: "
            f"{', '.join(pool.submissions)}."
        )
    seconds, ratios, scores = _measured(pool, hits, "seconds", compat)
    steps, ratios_by_steps, scores_by_steps = _measured(pool, hits, "steps", compat)
    speedups = _speedups(pool, seconds, reference)
    ranks = [1 + int((scores > value + TIE).sum()) for value in scores]
    entries = [
        Entry(
            submission=name,
            rank=ranks[s],
            score=float(scores[s]),
            score_by_steps=float(scores_by_steps[s]),
            seconds=_by_name(pool.scored_workloads, seconds[s]),
            steps=_by_name(pool.scored_workloads, steps[s]),
            ratios=_by_name(pool.bases, ratios[s]),
            ratios_by_steps=_by_name(pool.bases, ratios_by_steps[s]),
            outcomes=outcome_counts(hits, name),
            speedup=speedups.get(name),
        )
        for s, name in enumerate(pool.submissions)
    ]
    ordered = sorted(entries, key=lambda entry: (entry.rank, entry.submission))
    return Leaderboard(pool, hits, tuple(ordered), compat, reference)


def _measured(
    pool: Pool, hits: Hits, measure: Measure, compat: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    limit = pool.ruleset.max_performance_ratio
    times = hits.table(measure, compat=compat).workload_times()
    remaining = profiles.remaining_times(times, pool.base_index(), limit)
    ratios = profiles.performance_ratios(remaining)
    scorer = profiles.compat_scores if compat else profiles.benchmark_scores
    return times, ratios, scorer(ratios, limit)


def _speedups(
    pool: Pool, seconds: np.ndarray, reference: str | None
) -> dict[str, Speedup]:
    if reference is None:
        return {}
    times = seconds[:, : len(pool.bases)]
    against = times[pool.submissions.index(reference)]
    logs = profiles.log_speedups(times, against, base_budgets(pool))
    return {
        name: Speedup(
            math.exp(logs[s]),
            _missed(pool.bases, times[s]),
            _missed(pool.bases, against),
        )
        for s, name in enumerate(pool.submissions)
    }


def base_budgets(pool: Pool) -> np.ndarray:
    """[base workload]: seconds of one run; infinity where unknown."""
    return np.array([pool.workloads[name].budget_seconds for name in pool.bases])


def _missed(names: Sequence[str], times: np.ndarray) -> tuple[str, ...]:
    return tuple(n for n, t in zip(names, times, strict=True) if not math.isfinite(t))


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def _speedup_words(speedup: Speedup) -> str:
    if math.isnan(speedup.factor):
        return "unknown (a miss without a known budget)"
    misses = len(speedup.misses) + len(speedup.reference_misses)
    return f"{speedup.factor:.3f}x" + (
        f" ({misses} misses as budget)" if misses else ""
    )


def _time_words(entry: Entry, workload: str) -> str:
    seconds = entry.seconds[workload]
    dropped = math.isinf(entry.ratios.get(workload, 1.0)) and math.isfinite(seconds)
    return duration(seconds) + (" x" if dropped else "")


def _entry_dict(entry: Entry) -> dict[str, Any]:
    workloads = {
        name: {
            "seconds": _finite(entry.seconds[name]),
            "steps": _finite(entry.steps[name]),
            "performance_ratio": _finite(entry.ratios.get(name, math.inf)),
        }
        for name in entry.seconds
    }
    speedup = entry.speedup and {
        "factor": _finite(entry.speedup.factor),
        "misses": list(entry.speedup.misses),
        "reference_misses": list(entry.speedup.reference_misses),
    }
    return {
        "submission": entry.submission,
        "rank": entry.rank,
        "score": entry.score,
        "score_by_steps": entry.score_by_steps,
        "speedup": speedup,
        "workloads": workloads,
        "outcomes": dict(entry.outcomes),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
