"""Which trials are scored together, on which workloads, and what is odd about them.

Scores compare submissions with each other, so the pool is part of the result. What
cannot be compared is an error; what may mislead is a warning, which `strict` makes an
error.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from algoperf.definition import Target
from algoperf.errors import BadLogs, BadSettings, UnknownName, near
from algoperf.logs import Trial
from algoperf.rulesets import TUNING_RULESETS, Ruleset, TuningRuleset, ruleset

from . import checks
from .targets import ScoredTier, ScoredWorkload, TargetSet, base_of, find_targets

MOST_STUDIES = 1_000
_MOST_NOTES = 10


@dataclass(frozen=True)
class Pool:
    """Everything that a score depends on."""

    ruleset: Ruleset
    tuning: TuningRuleset
    tier: ScoredTier
    workloads: Mapping[str, ScoredWorkload]  # those that count, by name
    bases: tuple[str, ...]
    held_out: tuple[str, ...]
    # By (submission, workload) and study number; in order of the trials' numbers.
    studies: Mapping[tuple[str, str], Mapping[int, Sequence[Trial]]]
    submissions: tuple[str, ...]
    num_studies: int  # of each submission on each workload; fewer are counted as misses
    num_trials: int  # largest number of trials in a study
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def scored_workloads(self) -> tuple[str, ...]:
        """Names of the base workloads, then of the held-out ones."""
        return self.bases + self.held_out

    def base_index(self) -> tuple[int, ...]:
        """For each held-out workload, the position of its base workload in `bases`."""
        return tuple(
            self.bases.index(self.workloads[name].base_name) for name in self.held_out
        )

    def target(self, workload: str) -> Target:
        """The target of a workload that counts."""
        return self.workloads[workload].target

    def trials(self, submission: str) -> list[Trial]:
        """All trials of a submission on workloads that count."""
        return [
            trial
            for workload in self.scored_workloads
            for study in self.studies.get((submission, workload), {}).values()
            for trial in study
        ]


def make_pool(
    trials: Sequence[Trial],
    rules: Ruleset | str,
    *,
    tuning: TuningRuleset | None = None,
    targets: TargetSet | Path | str | None = None,
    base_workloads: Sequence[str] | None = None,
    held_out: Sequence[str] | None = None,
    num_studies: int | None = None,
    strict: bool = False,
    left_out: Sequence[str] = (),
) -> Pool:
    """Checks that `trials` can be scored together, and arranges them.

    `held_out`: the drawn variants; else those of the targets file, else those that the
    ruleset knows to be drawn, else those in the logs. `num_studies`: else the largest
    number that any submission has on any workload, and at most the ruleset's; studies
    with higher numbers do not count. `left_out`: folders that were passed over, to be
    noted.
    """
    if not trials:
        raise BadLogs("There are no trials to score.")
    rules = ruleset(rules) if isinstance(rules, str) else rules
    notes = _left_out_notes(left_out)
    tuning = tuning or _tuning(trials, notes)
    known = find_targets(trials, rules, tuning, targets)
    bases, held = _counted_workloads(
        trials, rules, known, base_workloads, held_out, notes
    )
    counted = [t for t in trials if t.id.workload in {*bases, *held}]
    names = _entry_names(counted)
    notes += checks.verified_note(counted)
    all_studies = _arrange(counted, names)
    wanted = _number_of_studies(num_studies, all_studies, rules.studies(tuning))
    studies = _first_studies(all_studies, wanted, notes)
    workloads = _with_bases(known.workloads, bases, held)
    pool = Pool(
        ruleset=rules,
        tuning=tuning,
        tier=_one_tier(workloads.values()),
        workloads=workloads,
        bases=bases,
        held_out=held,
        studies=studies,
        submissions=tuple(sorted(set(names.values()))),
        num_studies=wanted,
        num_trials=max(
            (len(t) for s in studies.values() for t in s.values()), default=0
        ),
        notes=tuple(notes),
    )
    found = [*known.conflicts, *_warnings(pool, counted, names, all_studies)]
    found += checks.absent_bases(known, bases)
    if strict and found:
        raise BadLogs("Not scored, because of --strict:\n- " + "\n- ".join(found))
    return replace(pool, warnings=tuple(found))


def _warnings(
    pool: Pool,
    trials: Sequence[Trial],
    names: Mapping[tuple[str, str], str],
    studies: "_Studies",
) -> list[str]:
    """What may mislead about trials that count; BadLogs if none can have reached anything."""
    rules, tuning = pool.ruleset, pool.tuning
    metrics = {n: _judged_by(pool.target(n), rules) for n in pool.scored_workloads}
    checks.require_one_that_counts(trials, metrics)
    return [
        *checks.uncomparable(trials, rules),
        *checks.incomplete(
            studies, pool.submissions, pool.scored_workloads, rules, tuning
        ),
        *checks.unfinished(trials),
        *checks.unverified(trials),
        *checks.unlogged(trials, metrics),
        *checks.copies(trials, names),
        *checks.other_budgets(trials, pool.workloads, rules, tuning),
    ]


def _left_out_notes(left_out: Sequence[str]) -> list[str]:
    notes = [f"left out: {phrase}" for phrase in left_out[:_MOST_NOTES]]
    more = len(left_out) - len(notes)
    return notes + ([f"left out: {more} more folders"] if more else [])


def _judged_by(target: Target, rules: Ruleset) -> tuple[str, ...]:
    """The columns that a trial is judged by."""
    has_test = target.test is not None and not math.isnan(target.test)
    scores_test = rules.scored_split == "test" and has_test
    splits = ("validation", "test") if scores_test else ("validation",)
    return tuple(f"{split}/{target.metric}" for split in splits)


def _tuning(trials: Sequence[Trial], notes: list[str]) -> TuningRuleset:
    """As recorded in the meta data or, by the published harness, in the flags."""
    recorded: dict[TuningRuleset, Path] = {}
    for trial in trials:
        name, file = trial.meta.tuning_ruleset, trial.meta_path
        if name is None:
            name, file = trial.flags.get("tuning_ruleset"), trial.flags_path
        if name is None:
            continue
        if name not in TUNING_RULESETS:
            raise BadLogs(
                f"{file} names a tuning ruleset {name!r}; there are: "
                f"{', '.join(TUNING_RULESETS)}. Correct the file, or say which one holds "
                "with --tuning-ruleset."
            )
        recorded.setdefault(name, file)
    if len(recorded) > 1:
        found = ", ".join(f"{name} ({recorded[name]})" for name in sorted(recorded))
        raise BadLogs(f"The logs mix tuning rulesets: {found}. Score each apart.")
    if recorded:
        return next(iter(recorded))
    per_study = Counter((t.id.submission, t.id.workload, t.id.study) for t in trials)
    guess: TuningRuleset = "self" if max(per_study.values()) == 1 else "external"
    notes.append(f"tuning ruleset not recorded in the logs; taken to be {guess}")
    return guess


def _counted_workloads(
    trials: Sequence[Trial],
    rules: Ruleset,
    known: TargetSet,
    base_workloads: Sequence[str] | None,
    held_out: Sequence[str] | None,
    notes: list[str],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    present = {t.id.workload for t in trials if known.workloads[t.id.workload].in_rules}
    others = {t.id.workload for t in trials} - present
    for name in (*(base_workloads or ()), *(held_out or ())):
        if name not in known.workloads:
            raise UnknownName(
                f"No targets are known for {name!r}.{near(name, known.workloads)}"
            )
    development = {n for n in present if known.workloads[n].tier != "full"}
    listed = known.base_workloads or ()
    stand_alone = development | {
        n for n in present if known.workloads[n].base_name == n
    }
    if base_workloads is not None:
        bases = set(base_workloads)
    elif listed:
        bases = present.intersection(listed)
    else:
        bases = stand_alone
    if held_out is None:
        held_out = _default_held_out(rules, known, present - bases - stand_alone, bases)
    ignored = sorted(present - bases - set(held_out))
    if ignored:
        notes.append(f"not part of the score: {', '.join(ignored)}")
    if others:
        names = ", ".join(sorted(others))
        notes.append(f"not part of ruleset {rules.name}: {names}")
    if not bases:
        raise BadLogs(
            "None of the workloads in the logs is a base workload of ruleset "
            f"{rules.name}: {', '.join(sorted({*ignored, *others}))}."
        )
    return tuple(sorted(bases)), _checked_held_out(tuple(sorted(held_out)), bases)


def _default_held_out(
    rules: Ruleset, known: TargetSet, variants: set[str], bases: set[str]
) -> Sequence[str]:
    if rules.held_out == "none":
        return ()
    if known.held_out_workloads is not None:
        return [n for n in known.held_out_workloads if base_of(n, bases) in bases]
    if any(base_of(name, bases) in bases for name in rules.drawn):
        variants = variants.intersection(rules.drawn)
    return [n for n in variants if known.workloads[n].base_name in bases]


def _checked_held_out(held_out: tuple[str, ...], bases: set[str]) -> tuple[str, ...]:
    by_base = defaultdict(list)
    for name in held_out:
        by_base[base_of(name, bases)].append(name)
    for base, variants in by_base.items():
        if base not in bases or base in variants:
            raise BadLogs(
                f"{variants[0]!r} cannot be held out: it is no variant of a scored "
                f"base workload ({', '.join(sorted(bases))})."
            )
        if len(variants) > 1:
            raise BadLogs(
                f"The logs have several variants of {base}: {', '.join(variants)}. Say "
                "which one was drawn with --held-out."
            )
    return held_out


def _with_bases(
    workloads: Mapping[str, ScoredWorkload],
    bases: Sequence[str],
    held_out: Sequence[str],
) -> dict[str, ScoredWorkload]:
    """The counted workloads; a held-out one names the base that is scored here."""
    counted = {}
    for name in (*bases, *held_out):
        facts = workloads[name]
        base = name if name in bases else base_of(name, bases)
        counted[name] = ScoredWorkload(
            name, base, facts.target, facts.budget_seconds, facts.tier
        )
    return counted


def _one_tier(workloads: Iterable[ScoredWorkload]) -> ScoredTier:
    tiers: dict[ScoredTier, list[str]] = {}
    for workload in workloads:
        tiers.setdefault(workload.tier, []).append(workload.name)
    if len(tiers) > 1:
        raise BadLogs(
            f"Development workloads ({', '.join(tiers['development'])}) are never "
            f"scored together with full ones ({', '.join(tiers['full'])}). Score them "
            "apart."
        )
    return next(iter(tiers))


def _entry_names(trials: Sequence[Trial]) -> dict[tuple[str, str], str]:
    """(submission, framework) -> name; two frameworks are two entries."""
    frameworks = defaultdict(set)
    for trial in trials:
        frameworks[trial.id.submission].add(trial.id.framework)
    return {
        (name, framework): name if len(found) == 1 else f"{name} ({framework})"
        for name, found in frameworks.items()
        for framework in found
    }


def _arrange(
    trials: Sequence[Trial], names: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], dict[int, list[Trial]]]:
    studies: dict[tuple[str, str], dict[int, list[Trial]]] = {}
    ordered = sorted(trials, key=lambda t: (t.id.study, t.id.trial))
    for trial in ordered:
        entry = names[trial.id.submission, trial.id.framework]
        of_entry = studies.setdefault((entry, trial.id.workload), {})
        of_entry.setdefault(trial.id.study, []).append(trial)
    return studies


_Studies = Mapping[tuple[str, str], Mapping[int, Sequence[Trial]]]


def _number_of_studies(given: int | None, studies: _Studies, of_rules: int) -> int:
    """As given; else the largest number that have evaluations, at most the ruleset's."""
    if given is None:
        counts = (
            sum(any(t.num_evaluations for t in study) for study in found.values())
            for found in studies.values()
        )
        return min(max(1, *counts), of_rules)
    if not 1 <= given <= MOST_STUDIES:
        raise BadSettings(
            f"The number of studies must be between 1 and {MOST_STUDIES:,}, not {given}."
        )
    return given


def _first_studies(
    studies: _Studies, count: int, notes: list[str]
) -> dict[tuple[str, str], dict[int, Sequence[Trial]]]:
    """The first ones by number; notes how many are left out."""
    kept = {
        key: {number: found[number] for number in sorted(found)[:count]}
        for key, found in studies.items()
    }
    surplus = sum(len(found) - len(kept[key]) for key, found in studies.items())
    if surplus:
        notes.append(f"only the first {count} studies count; left out: {surplus}")
    return kept
