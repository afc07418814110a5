"""What may mislead in a pool of trials: warnings, or BadLogs where nothing compares."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from algoperf.errors import BadLogs
from algoperf.logs import Outcome, Trial
from algoperf.rulesets import Ruleset, TuningRuleset

from .targets import TargetSet

# Their runs are no evidence of a failure of the submission, and should be repeated.
_TO_REPEAT = (Outcome.INFRASTRUCTURE_CRASHED, Outcome.PREEMPTED)


def uncomparable(trials: Sequence[Trial], rules: Ruleset) -> list[str]:
    """What differs between trials that are about to be ranked together."""
    warnings = []
    precisions = _counted(t.meta.get("precision") for t in trials)
    if len(precisions) > 1:
        raise BadLogs(f"Precisions are never ranked together: {_listed(precisions)}.")
    if any(trial.meta.get("partial_data") for trial in trials):
        raise BadLogs(
            "Some trials ran on a partial copy of their data (partial_data in their "
            "meta data); such trials are never scored. Prepare the whole data set."
        )
    hardware = _counted(map(hardware_words, trials))
    if len(hardware) > 1:
        warnings.append(
            f"times of different hardware are compared: {_listed(hardware)}"
        )
    recorded = _counted(t.meta.get("ruleset") for t in trials)
    if len(recorded) > 1:
        warnings.append(f"trials ran under different rulesets: {_listed(recorded)}")
    elif recorded and rules.name not in recorded:
        warnings.append(
            f"ran under ruleset {next(iter(recorded))}, scored by {rules.name}"
        )
    return warnings


def _counted(values: Iterable[Any]) -> Counter[str]:
    """How often each value was recorded; None is left out."""
    return Counter(str(value) for value in values if value is not None)


def hardware_words(trial: Trial) -> str | None:
    """What the trial ran on, in words that suit every framework; None: not recorded."""
    devices, host = trial.meta.get("devices"), trial.meta.get("host")
    words = []
    if isinstance(devices, Mapping):
        kind = devices.get("device_kind")
        words.append(f"{devices.get('num_devices')} x {kind}")
    if isinstance(host, Mapping):
        words.append(f"{host.get('cpu')} ({host.get('cores')} cores)")
    return " on ".join(words) or None


def _listed(groups: Mapping[str, int]) -> str:
    return "; ".join(f"{name} ({groups[name]} trials)" for name in sorted(groups))


def incomplete(
    studies: Mapping[tuple[str, str], Mapping[int, Sequence[Trial]]],
    submissions: Sequence[str],
    workloads: Sequence[str],
    rules: Ruleset,
    tuning: TuningRuleset,
) -> list[str]:
    """Missing or surplus studies and trials, a line per submission and kind."""
    wanted, trials = rules.studies(tuning), rules.trials(tuning)
    warnings = []
    for submission in submissions:
        absent, few, short, extra = [], [], [], []
        for workload in workloads:
            found = studies.get((submission, workload), {})
            if not found:
                absent.append(workload)
            elif len(found) < wanted:
                few.append(f"{workload} ({len(found)})")
            if any(len(study) < trials for study in found.values()):
                short.append(workload)
            if len(found) > wanted or any(len(s) > trials for s in found.values()):
                extra.append(workload)
        for what, names in (
            ("no trials, counted as misses, on", absent),
            (f"fewer than {wanted} studies on", few),
            (f"studies of fewer than {trials} trials on", short),
            (f"more than {wanted} studies of {trials} trials on", extra),
        ):
            if names:
                warnings.append(f"{submission}: {what} {', '.join(names)}")
    return warnings


def unfinished(trials: Sequence[Trial]) -> list[str]:
    """Trials that cannot count yet, and those that should be repeated."""
    open_ = Counter(t.id.submission for t in trials if is_unfinished(t))
    repeat = Counter(t.id.submission for t in trials if t.outcome in _TO_REPEAT)
    return [
        *(
            f"{name}: {n} trials are still running or were cut off; counted as misses"
            for name, n in sorted(open_.items())
        ),
        *(
            f"{name}: {n} trials ended by a fault of the machine and should be repeated"
            for name, n in sorted(repeat.items())
        ),
    ]


def is_unfinished(trial: Trial) -> bool:
    """Whether our runner started it without recording its end."""
    return trial.outcome is None and bool(trial.meta)


def absent_bases(known: TargetSet, bases: Sequence[str]) -> list[str]:
    """Base workloads of the benchmark that nobody ran."""
    absent = sorted(set(known.base_workloads) - set(bases))
    if not absent:
        return []
    return [f"scored on {len(bases)} base workloads only, without {', '.join(absent)}"]
