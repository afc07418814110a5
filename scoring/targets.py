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
from algoperf.definition import DIRECTIONS, Direction, Target, WorkloadDefinition
from algoperf.errors import BadLogs, UnknownName, near
from algoperf.files import read_regular
from algoperf.logs import Trial
from algoperf.rulesets import Ruleset, TuningRuleset
from algoperf.trial_meta import budget_of, finite_number, test_bound

from . import published

ScoredTier = Literal["full", "development"]


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
    in_rules: bool = True  # whether the ruleset has this workload


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


def _known_directions() -> dict[str, Direction]:
    """Of the metrics of defined workloads, where these agree."""
    targets = [definition.target for definition in registry.definitions().values()]
    found: dict[str, set[Direction]] = {}
    for target in targets:
        found.setdefault(target.metric, set()).add(target.better)
    return {metric: min(way) for metric, way in found.items() if len(way) == 1}


def read_targets(path: Path, ruleset: Ruleset, tuning: TuningRuleset) -> TargetSet:
    """Targets from a JSON file.

    `{"base_workloads": [...], "held_out_workloads": [...], "workloads": {name:
    {"target_metric_name", "validation_target_value"[, "test_target_value", "better",
    "budget_seconds"]}}}`; budgets are those of external tuning. BadLogs names a wrong
    field.
    """
    try:
        data = read_regular(path)
    except BadLogs as error:
        raise BadLogs(
            f"The targets file cannot be used: {error} Give another path, or leave it out "
            "to take the targets from the workloads' definitions."
        ) from None
    try:
        content = json.loads(data)
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
    better = entry.get("better", _known_directions().get(metric))
    if better not in DIRECTIONS:
        raise BadLogs(
            f'{where}: say with \'better\': "higher" or "lower" in which direction '
            f"{metric!r} improves."
        )
    validation = finite_number(where, entry, "validation_target_value", required=True)
    test = test_bound(where, entry, "test_target_value")
    return ScoredWorkload(
        name,
        base_of(name, bases),
        Target(metric, validation, test, better),
        budget_of(where, entry) * factor,
    )


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
        in_rules=limits is not None,
    )


def from_meta(trial: Trial, budget_factor: float = 1.0) -> ScoredWorkload | None:
    """What a run recorded about its own workload; None if it recorded no target.

    `budget_factor`: of the budgets in published logs, which are those of external tuning.
    """
    meta, name = trial.meta, trial.id.workload
    if meta.target is None:
        return _from_published(trial, budget_factor)
    budget = math.inf if meta.budget_seconds is None else meta.budget_seconds
    base = meta.base_workload or name
    tier = meta.tier or "full"
    if tier == "mini":
        base = name
    return ScoredWorkload(name, base, meta.target, budget, scored_tier(tier))


def _from_published(trial: Trial, budget_factor: float) -> ScoredWorkload | None:
    """None also for a metric whose direction nobody knows."""
    record = published.target_record(trial)
    better = _known_directions().get(record["metric"]) if record else None
    if record is None or better is None:
        return None
    target = Target(record["metric"], record["validation"], record["test"], better)
    seconds = published.budget_seconds(trial)
    budget = math.inf if math.isnan(seconds) else seconds * budget_factor
    return ScoredWorkload(trial.id.workload, trial.id.workload, target, budget)


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
        recorded = _recorded(name, by_workload[name], ruleset.budget_factor(tuning))
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


def _recorded(
    name: str, trials: Sequence[Trial], budget_factor: float
) -> list[ScoredWorkload]:
    """The different targets that trials of one workload ran towards."""
    different: list[ScoredWorkload] = []
    for trial in trials:
        recorded = from_meta(trial, budget_factor)
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
    """Equal but for rounding: a published record says 0.6518999999999999 for 0.6519."""
    x, y = a.target, b.target
    return (x.metric, x.better) == (y.metric, y.better) and all(
        _same_bound(x.bound(split), y.bound(split)) for split in ("validation", "test")
    )


def _same_bound(a: float | None, b: float | None) -> bool:
    """A bound that is missing or not known contradicts none."""
    if a is None or b is None or math.isnan(a) or math.isnan(b):
        return True
    return math.isclose(a, b, rel_tol=1e-9)


def _words(workload: ScoredWorkload) -> str:
    target = workload.target
    words = f"{target.metric} {target.validation:g} (validation)"
    return words if target.test is None else f"{words}, {target.test:g} (test)"
