"""What a workload is scored against, and where those facts come from.

In this order: a targets file that was given, the registry's definitions, the record
that a run left in its own logs. Direction, targets and budget are one value per
workload.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from algoperf import registry
from algoperf.definition import Target, WorkloadDefinition
from algoperf.errors import BadLogs, UnknownName, near
from algoperf.logs import Trial
from algoperf.rulesets import Ruleset, TuningRuleset

ScoredTier = Literal["full", "development"]

# Metrics whose direction a targets file need not say.
_BETTER: Mapping[str, Literal["higher", "lower"]] = {
    "accuracy": "higher",
    "bleu": "higher",
    "mean_average_precision": "higher",
    "ssim": "higher",
    "ctc_loss": "lower",
    "loss": "lower",
    "ppl": "lower",
    "wer": "lower",
}


@dataclass(frozen=True)
class ScoredWorkload:
    """The facts of one workload that scoring needs."""

    name: str
    base_name: str  # equals `name` unless this is a variant
    target: Target  # a split without a target has NaN
    budget_seconds: float = (
        math.inf
    )  # of one run under the ruleset; infinity if unknown
    tier: ScoredTier = "full"


@dataclass(frozen=True)
class TargetSet:
    """Targets by workload, and which workloads count, where a file says so."""

    workloads: Mapping[str, ScoredWorkload]
    base_workloads: tuple[str, ...] = ()  # empty: those of the logs
    held_out_workloads: tuple[str, ...] | None = None  # None: not said
    source: str = ""
    conflicts: tuple[str, ...] = field(default=())  # what sources disagree about


def scored_tier(tier: str) -> ScoredTier:
    """The laptop tier and the development workloads are one tier that never counts."""
    return "full" if tier == "full" else "development"


def base_of(name: str, bases: Iterable[str]) -> str:
    """The longest of `bases` that is a prefix of `name`; else `name`."""
    matches = [base for base in bases if name == base or name.startswith(base + "_")]
    return max(matches, key=len, default=name)


def read_targets(path: Path, ruleset: Ruleset, tuning: TuningRuleset) -> TargetSet:
    """Targets from a JSON file.

    `{"base_workloads": [...], "held_out_workloads": [...], "workloads": {name:
    {"target_metric_name", "validation_target_value"[, "test_target_value", "better",
    "budget_seconds"]}}}`; budgets are those of external tuning. BadLogs names a wrong
    field.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise BadLogs(
            f"The targets file {path} cannot be read: {error.strerror}. Give another "
            "path, or leave it out to take the targets from the workloads' "
            "definitions."
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadLogs(f"The targets file {path} is not JSON: {error}.") from None
    entries = content.get("workloads") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not entries:
        raise BadLogs(
            f"{path} must hold an object with a field 'workloads' that is not empty."
        )
    bases = _names(path, content, "base_workloads", entries) or ()
    factor = ruleset.budget_factor(tuning)
    return TargetSet(
        {
            name: _from_entry(path, name, entries[name], bases, factor)
            for name in entries
        },
        bases,
        _names(path, content, "held_out_workloads", entries),
        str(path),
    )


def _names(
    path: Path, content: Mapping[str, Any], key: str, known: Mapping[str, Any]
) -> tuple[str, ...] | None:
    names = content.get(key)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise BadLogs(
            f"{path}: {key!r} must be a list of workload names, not {names!r}."
        )
    for name in names:
        if name not in known:
            raise BadLogs(
                f"{path}: {key!r} lists {name!r}, which has no targets there."
            )
    return tuple(names)


def _from_entry(
    path: Path, name: str, entry: Any, bases: Sequence[str], factor: float
) -> ScoredWorkload:
    where = f"{path}, workload {name!r}"
    if not isinstance(entry, dict):
        raise BadLogs(f"{where}: must be an object, not {entry!r}.")
    metric = entry.get("target_metric_name")
    if not isinstance(metric, str):
        raise BadLogs(f"{where}: 'target_metric_name' must be a name, not {metric!r}.")
    better = entry.get("better", _BETTER.get(metric))
    if better not in ("higher", "lower"):
        raise BadLogs(
            f'{where}: say with \'better\': "higher" or "lower" in which direction '
            f"{metric!r} improves."
        )
    validation = _number(where, entry, "validation_target_value", required=True)
    test = _number(where, entry, "test_target_value")
    budget = _number(where, entry, "budget_seconds", default=math.inf)
    return ScoredWorkload(
        name,
        base_of(name, bases),
        Target(metric, validation, test, better),
        budget * factor,
    )


def _number(
    where: str,
    entry: Mapping[str, Any],
    key: str,
    *,
    required: bool = False,
    default: float = math.nan,
) -> float:
    value = entry.get(key)
    if value is None and not required:
        return default
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    ):
        return float(value)
    raise BadLogs(f"{where}: {key!r} must be a finite number, not {value!r}.")


def from_definition(
    definition: WorkloadDefinition, ruleset: Ruleset, tuning: TuningRuleset
) -> ScoredWorkload:
    """What the ruleset says about a defined workload."""
    limits = definition.limits.get(ruleset.limits)
    budget = limits.budget_seconds if limits else math.inf
    # A mini workload is no variant of the full one: it stands for itself.
    base = definition.name if definition.tier == "mini" else definition.base_name
    return ScoredWorkload(
        definition.name,
        base,
        definition.target,
        budget * ruleset.budget_factor(tuning),
        scored_tier(definition.tier),
    )


def from_meta(trial: Trial) -> ScoredWorkload | None:
    """What a run recorded about its own workload; None if it recorded no target."""
    record = trial.meta.get("target")
    if record is None:
        return None
    where = f"{trial.folder}: the target in the trial's meta data"
    if not isinstance(record, Mapping):
        raise BadLogs(f"{where} must be an object, not {record!r}.")
    metric, better = record.get("metric"), record.get("better")
    if not isinstance(metric, str) or better not in ("higher", "lower"):
        raise BadLogs(f"{where} must have 'metric' and 'better', not {dict(record)!r}.")
    validation = _number(where, record, "validation", required=True)
    target = Target(metric, validation, _number(where, record, "test"), better)
    budget = _number(where, trial.meta, "budget_seconds", default=math.inf)
    name = trial.id.workload
    base = str(trial.meta.get("base_workload") or name)
    tier = scored_tier(str(trial.meta.get("tier", "full")))
    is_mini = trial.meta.get("tier") == "mini"
    return ScoredWorkload(name, name if is_mini else base, target, budget, tier)


def find_targets(
    trials: Sequence[Trial],
    ruleset: Ruleset,
    tuning: TuningRuleset,
    given: "TargetSet | Path | str | None" = None,
) -> TargetSet:
    """Targets of every workload in `trials`; UnknownName where nothing knows any."""
    if isinstance(given, str | Path):
        given = read_targets(Path(given), ruleset, tuning)
    by_workload: dict[str, list[Trial]] = {}
    for trial in trials:
        by_workload.setdefault(trial.id.workload, []).append(trial)
    found: dict[str, ScoredWorkload] = dict(given.workloads) if given else {}
    conflicts: list[str] = []
    for name in sorted(by_workload):
        recorded = _recorded(name, by_workload[name])
        if name not in found:
            found[name] = _known(name, recorded, by_workload[name][0], ruleset, tuning)
        others = [r for r in recorded if not _same_target(r, found[name])]
        if others:
            conflicts.append(
                f"{name}: some trials ran towards {_words(others[0])}; they are scored "
                f"against {_words(found[name])}"
            )
    if given:
        return replace(given, workloads=found, conflicts=tuple(conflicts))
    return TargetSet(found, conflicts=tuple(conflicts), source="definitions and logs")


def _recorded(name: str, trials: Sequence[Trial]) -> list[ScoredWorkload]:
    """The different targets that trials of one workload ran towards."""
    different: list[ScoredWorkload] = []
    for trial in trials:
        recorded = from_meta(trial)
        if recorded and not any(_same_target(recorded, other) for other in different):
            different.append(recorded)
    return sorted(different, key=repr)


def _known(
    name: str,
    recorded: Sequence[ScoredWorkload],
    example: Trial,
    ruleset: Ruleset,
    tuning: TuningRuleset,
) -> ScoredWorkload:
    definitions = registry.definitions()
    if name in definitions:
        return from_definition(definitions[name], ruleset, tuning)
    if len(recorded) == 1:
        return recorded[0]
    if recorded:
        raise BadLogs(
            f"Trials of {name} ran towards different targets: "
            f"{'; '.join(_words(r) for r in recorded)}. Score them apart, or say with "
            "--targets FILE which holds."
        )
    raise UnknownName(
        f"{example.folder}: no targets are known for the workload "
        f"{name!r}.{near(name, definitions)} Give them with --targets FILE, or remove "
        "the folder."
    )


def _same_target(a: ScoredWorkload, b: ScoredWorkload) -> bool:
    return repr(a.target) == repr(b.target)  # NaN equals NaN here


def _words(workload: ScoredWorkload) -> str:
    target = workload.target
    return f"{target.metric} {target.validation:g} (validation), {target.test:g} (test)"
