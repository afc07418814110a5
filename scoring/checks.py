"""What may mislead in a pool of trials: warnings, or BadLogs where nothing compares."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from algoperf.columns import Columns
from algoperf.errors import BadLogs
from algoperf.logs import OUTCOME_FILE, Outcome, Trial
from algoperf.rulesets import Ruleset, TuningRuleset
from algoperf.verification_record import Status

from . import published
from .targets import ScoredWorkload, TargetSet

_MOST_NAMES = 6  # of submissions in a warning
# Their runs say nothing about the submission; they are to be rerun.
_TO_REPEAT = (Outcome.INFRASTRUCTURE_CRASHED, Outcome.PREEMPTED)


def uncomparable(trials: Sequence[Trial], rules: Ruleset) -> list[str]:
    """What differs between trials that are about to be ranked together."""
    warnings = []
    precisions = {t.meta.precision: t for t in trials if t.meta.precision}
    if len(precisions) > 1:
        found = "; ".join(f"{name} ({t.meta_path})" for name, t in precisions.items())
        raise BadLogs(f"Precisions are never ranked together: {found}.")
    partial = [t for t in trials if t.meta.partial_data]
    if partial:
        raise BadLogs(
            f"{partial[0].meta_path}: the trial ran on a partial copy of its data "
            f"(partial_data){_and_others(partial)}; such trials are never scored. Prepare "
            "the whole data set, or remove the trial."
        )
    slowed = [t for t in trials if t.flags.get("profile_dir") or t.flags.get("pdb")]
    if slowed:
        raise BadLogs(
            f"{slowed[0].folder}: the trial was run with --profile or --pdb"
            f"{_and_others(slowed)}; such trials are never scored. Remove it."
        )
    hardware = _counted(map(hardware_words, trials))
    if len(hardware) > 1:
        warnings.append(
            f"times of different hardware are compared: {_listed(hardware)}"
        )
    recorded = _counted(t.meta.ruleset for t in trials)
    if len(recorded) > 1:
        warnings.append(f"trials ran under different rulesets: {_listed(recorded)}")
    elif recorded and rules.name not in recorded:
        warnings.append(
            f"ran under ruleset {next(iter(recorded))}, scored by {rules.name}"
        )
    return warnings


def _and_others(trials: Sequence[Trial]) -> str:
    return f", and so did {len(trials) - 1} others" if len(trials) > 1 else ""


def _counted(values: Iterable[Any]) -> Counter[str]:
    """How often each value was recorded; None is left out."""
    return Counter(str(value) for value in values if value is not None)


def hardware_words(trial: Trial) -> str | None:
    """What the trial ran on, in words that suit every framework; None: not recorded."""
    devices, host = trial.meta.devices, trial.meta.host
    words = []
    if devices is not None:
        words.append(f"{devices.num_devices} x {devices.device_kind}")
    if host is not None:
        words.append(f"{host.cpu} ({host.cores} cores)")
    return " on ".join(words) or published.hardware(trial)


def _listed(groups: Mapping[str, int]) -> str:
    return "; ".join(f"{name} ({groups[name]} trials)" for name in sorted(groups))


def incomplete(
    studies: Mapping[tuple[str, str], Mapping[int, Sequence[Trial]]],
    submissions: Sequence[str],
    workloads: Sequence[str],
    rules: Ruleset,
    tuning: TuningRuleset,
) -> list[str]:
    """Missing or surplus studies and trials, a line for all submissions with the same lack."""
    wanted, trials = rules.studies(tuning), rules.trials(tuning)
    lacking: dict[str, list[str]] = {}  # submissions by what each lacks
    for submission in submissions:
        absent, empty, few, short, extra = [], [], [], [], []
        for workload in workloads:
            found = studies.get((submission, workload), {})
            if not found:
                absent.append(workload)
            elif not any(t.num_evaluations for study in found.values() for t in study):
                empty.append(workload)
            elif len(found) < wanted:
                few.append(f"{workload} ({len(found)})")
            if any(len(study) < trials for study in found.values()):
                short.append(workload)
            if len(found) > wanted or any(len(s) > trials for s in found.values()):
                extra.append(workload)
        for what, names in (
            ("no trials, counted as misses, on", absent),
            ("no evaluations, counted as misses, on", empty),
            (f"fewer than {wanted} studies on", few),
            (f"studies of fewer than {trials} trials on", short),
            (f"more than {wanted} studies of {trials} trials on", extra),
        ):
            if names:
                lack = f"{what} {', '.join(names)}"
                lacking.setdefault(lack, []).append(submission)
    return [f"{_subjects(names)}: {lack}" for lack, names in lacking.items()]


def _subjects(names: Sequence[str]) -> str:
    """One submission by its name, several by their number and the first names."""
    if len(names) == 1:
        return names[0]
    more = ", …" if len(names) > _MOST_NAMES else ""
    return f"{len(names)} submissions ({', '.join(names[:_MOST_NAMES])}{more})"


def unfinished(trials: Sequence[Trial]) -> list[str]:
    """Trials that do not count yet, and those to rerun."""
    return [
        *_by_submission(
            [t for t in trials if t.is_unfinished],
            "are still running or were cut off; counted as misses",
        ),
        *_by_submission(
            [t for t in trials if t.outcome in _TO_REPEAT],
            "failed because of the infrastructure; rerun them",
        ),
    ]


def unverified(trials: Sequence[Trial]) -> list[str]:
    """Trials of this harness whose claim to have reached a target nobody has confirmed."""
    claims = [t for t in trials if t.claims_target]
    status = {t.id: t.verification.status if t.verification else None for t in claims}
    return [
        *_by_submission(
            [t for t in claims if status[t.id] is Status.DIFFERS],
            "differ from what `algoperf verify` computed",
        ),
        *_by_submission(
            [t for t in claims if status[t.id] in (None, Status.UNKNOWN)],
            "claim a target and are not verified; run `algoperf verify`",
        ),
    ]


def verified_note(trials: Sequence[Trial]) -> list[str]:
    """How many of the claims were confirmed; nothing where none was."""
    claims = [t for t in trials if t.claims_target]
    good = [t for t in claims if is_verified(t)]
    if not good:
        return []
    return [f"verified: {len(good)} of {len(claims)} trials that claim a target"]


def is_verified(trial: Trial) -> bool:
    """Whether `algoperf verify` has confirmed these very rows."""
    found = trial.verification
    return found is not None and found.status is Status.VERIFIED


def _by_submission(trials: Sequence[Trial], what: str) -> list[str]:
    """One line; which submissions, how many trials, and the first of them."""
    if not trials:
        return []
    names = sorted({t.id.submission for t in trials})
    return [
        f"{_subjects(names)}: {len(trials)} trials {what} (such as {trials[0].folder})"
    ]


def unlogged(
    trials: Sequence[Trial], metrics: Mapping[str, Sequence[str]]
) -> list[str]:
    """Trials that never logged what they are judged by; `metrics`: columns by workload."""
    found: dict[tuple[str, str, str], list[Trial]] = {}
    for trial in trials:
        for column in metrics[trial.id.workload]:
            if never_logged(trial, column):
                key = (trial.id.submission, trial.id.workload, column)
                found.setdefault(key, []).append(trial)
    return [
        f"{lacking[0].evaluations_path} has no value of {column!r}{_and_others(lacking)}; "
        "counted as a miss"
        for (_, _, column), lacking in sorted(found.items())
    ]


def never_logged(trial: Trial, column: str) -> bool:
    """Whether a trial was evaluated, and none of its rows holds anything in that column."""
    if not trial.num_evaluations:
        return False
    if column not in trial.columns:
        return True
    if not np.isnan(trial.columns[column]).all():
        return False
    return isinstance(trial.columns, Columns) and trial.columns.is_blank(column)


def require_one_that_counts(
    trials: Sequence[Trial], metrics: Mapping[str, Sequence[str]]
) -> None:
    """BadLogs if no trial can have reached anything: that would be a board of zeros."""
    reasons = [_why_it_cannot_count(t, metrics[t.id.workload]) for t in trials]
    if not all(reasons):
        return
    more = f"; and {len(reasons) - 3} others" if len(reasons) > 3 else ""
    raise BadLogs(
        f"None of the {len(reasons)} trials counts, so there is nothing to rank: "
        f"{'; '.join(reasons[:3])}{more}."
    )


def _why_it_cannot_count(trial: Trial, columns: Sequence[str]) -> str:
    """Names the file; empty for a trial that can be judged, a failed one too."""
    if trial.outcome is Outcome.INVALID:
        return f"{trial.folder / OUTCOME_FILE} says invalid ({trial.reason})"
    if trial.is_unfinished:
        return f"{trial.folder} is unfinished: it has no {OUTCOME_FILE}"
    if not trial.num_evaluations:
        return f"{trial.evaluations_path} is missing or has no row"
    for column in columns:
        if never_logged(trial, column):
            return f"{trial.evaluations_path} has no value of {column!r}"
    return ""


def other_budgets(
    trials: Sequence[Trial],
    workloads: Mapping[str, ScoredWorkload],
    rules: Ruleset,
    tuning: TuningRuleset,
) -> list[str]:
    """Published logs that seem to come from another version of the benchmark."""
    factor = rules.budget_factor(tuning)
    found = {}
    for trial in trials:
        seconds = published.budget_seconds(trial) * factor
        allowed = workloads[trial.id.workload].budget_seconds
        if math.isfinite(allowed) and abs(seconds - allowed) > 0.01 * allowed:
            found[trial.id.workload] = f"{seconds:,.0f} s, not {allowed:,.0f} s"
    if not found:
        return []
    listed = "; ".join(f"{name} ({words})" for name, words in sorted(found.items()))
    return [
        f"ran with other budgets than those of ruleset {rules.name}: {listed}. Choose the "
        "ruleset that the logs were written under with --rules"
    ]


def copies(trials: Sequence[Trial], names: Mapping[tuple[str, str], str]) -> list[str]:
    """Submissions whose logs are those of another one; `names`: by submission, framework."""
    logged: dict[str, list[tuple[object, ...]]] = {}
    for trial in trials:
        if isinstance(trial.columns, Columns):
            entry = names[trial.id.submission, trial.id.framework]
            place = (trial.id.workload, trial.id.study, trial.id.trial)
            logged.setdefault(entry, []).append((place, trial.columns.fingerprint))
    first: dict[str, str] = {}
    found = []
    for name in sorted(logged):
        original = first.setdefault(repr(sorted(logged[name])), name)
        if original != name:
            found.append(f"the logs of {name} are those of {original}; is it a copy?")
    return found


def absent_bases(known: TargetSet, bases: Sequence[str]) -> list[str]:
    """Base workloads of the benchmark that nobody ran."""
    absent = sorted(set(known.base_workloads) - set(bases))
    if not absent:
        return []
    return [f"scored on {len(bases)} base workloads only, without {', '.join(absent)}"]
