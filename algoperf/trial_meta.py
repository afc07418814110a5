"""What a trial ran on and towards: the record in `meta_data_<n>.json`, written and read here.

Published logs have other, flat keys; `TrialMeta.others` keeps them as they are.
"""

import dataclasses
import datetime
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from algoperf.definition import DIRECTIONS, Target
from algoperf.errors import BadLogs

# Fields without which a record is not of this harness.
_OWN_FIELDS = ("ruleset", "tuning_ruleset", "target")


def utc_now() -> str:
    """The present moment in UTC, ISO 8601, to the millisecond."""
    now = datetime.datetime.now(datetime.UTC)
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def finite_number(
    where: str,
    entry: Mapping[str, Any],
    key: str,
    *,
    required: bool = False,
    default: float = math.nan,
) -> float:
    """A number of a JSON object; BadLogs, which begins with `where`, if it is something else."""
    value = entry.get(key)
    if value is None and not required:
        return default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        if is_number and math.isfinite(value):  # type: ignore[arg-type]
            return float(value)  # type: ignore[arg-type]
    except OverflowError:  # an integer beyond all floats
        pass
    raise BadLogs(f"{where}: {key!r} must be a finite number, not {value!r}.")


def test_bound(where: str, entry: Mapping[str, Any], key: str) -> float | None:
    """NaN where nothing is said; None where the record says that there is no test target."""
    if key in entry and entry[key] is None:
        return None
    return finite_number(where, entry, key)


def target_to_json(target: Target) -> dict[str, Any]:
    """The target that a trial ran towards, as JSON object."""
    names = ("metric", "better", "validation", "test")
    return {name: getattr(target, name) for name in names}


def target_from_json(record: object, where: str) -> Target:
    """The inverse of `target_to_json`; BadLogs, which begins with `where`, if it is no target.

    `test` is NaN where nothing is said about it.
    """
    where = f"{where}: the target"
    if not isinstance(record, Mapping):
        raise BadLogs(f"{where} must be an object, not {record!r}.")
    metric, better = record.get("metric"), record.get("better")
    if not isinstance(metric, str) or better not in DIRECTIONS:
        raise BadLogs(f"{where} must have 'metric' and 'better', not {dict(record)!r}.")
    validation = finite_number(where, record, "validation", required=True)
    return Target(metric, validation, test_bound(where, record, "test"), better)


@dataclass(frozen=True)
class Host:
    """The machine."""

    cpu: str | None = None
    cores: int | None = None
    memory_bytes: int | None = None
    system: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Host":
        """The inverse of `to_json`."""
        return cls(**{f.name: record.get(f.name) for f in dataclasses.fields(cls)})


@dataclass(frozen=True)
class Devices:
    """The devices of a run and the framework's settings for them."""

    framework: str | None = None
    platform: str | None = None  # "cpu", "gpu", "tpu"
    device_kind: str | None = None
    num_devices: int | None = None
    device_memory_bytes: int | None = None  # of one; None where nobody knows
    versions: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()  # sentences for the user
    settings: Mapping[str, Any] = field(default_factory=dict)  # the framework's own

    def to_json(self) -> dict[str, Any]:
        """As one flat JSON object; what is not known is left out."""
        return {**_known(self, "settings"), **self.settings}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Devices":
        """The inverse of `to_json`."""
        names = {f.name for f in dataclasses.fields(cls)} - {"settings"}
        known = {key: record[key] for key in names & set(record)}
        if not isinstance(known.get("versions", {}), Mapping):
            del known["versions"]
        warnings = known.pop("warnings", ())
        texts = warnings if isinstance(warnings, list | tuple) else ()
        settings = {key: record[key] for key in record if key not in names}
        return cls(**known, warnings=tuple(map(str, texts)), settings=settings)


_PARTS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "devices": Devices.from_json,
    "host": Host.from_json,
    "versions": dict,
    "about": dict,
}
_TEXTS = (
    "workload",
    "base_workload",
    "tier",
    "framework",
    "ruleset",
    "precision",
    "batch_size_source",
    "commit",
    "began",
)


@dataclass(frozen=True)
class TrialMeta:
    """Rules, targets, budgets, hardware, versions, code; None: not recorded."""

    workload: str | None = None
    base_workload: str | None = None
    tier: str | None = None
    framework: str | None = None
    ruleset: str | None = None
    tuning_ruleset: str | None = None  # as recorded: scoring refuses what is none
    target: Target | None = None
    budget_seconds: float | None = None
    step_hint: int | None = None
    batch_size: int | None = None
    batch_size_source: str | None = None
    precision: str | None = None
    partial_data: bool = False
    target_setting: bool = False
    eval_period_steps: int | None = None  # instead of the workload's seconds
    seed: int | None = None
    study: int | None = None
    trial: int | None = None
    num_processes: int | None = None
    torch_inductor_cache: str | None = None
    began: str | None = None  # this part of the trial: UTC, ISO 8601
    devices: Devices | None = None
    host: Host | None = None
    versions: Mapping[str, Any] | None = None
    commit: str | None = None
    about: Mapping[str, Any] | None = None  # what `submission.toml` says
    others: Mapping[str, Any] = field(default_factory=dict)  # of other harnesses

    @property
    def is_own(self) -> bool:
        """Whether this harness wrote the record; published logs lack these fields."""
        return any(getattr(self, name) is not None for name in _OWN_FIELDS)

    def to_json(self) -> dict[str, Any]:
        """As JSON object; what is not known is left out."""
        content = _known(self, "others")
        for name in ("devices", "host"):
            if name in content:
                content[name] = content[name].to_json()
        if self.target is not None:
            content["target"] = target_to_json(self.target)
        return {**content, **self.others}

    @classmethod
    def from_json(
        cls, content: Mapping[str, Any], where: str = "meta_data"
    ) -> "TrialMeta":
        """The inverse of `to_json`; also takes records of the published harness.

        `where`: the file, for messages. BadLogs for a target or budget that is none.
        """
        names = {f.name for f in dataclasses.fields(cls)} - {"others"}
        known = {k: v for k, v in content.items() if k in names and v is not None}
        for name in set(_TEXTS) & set(known):
            known[name] = str(known[name])
        for name, read in _PARTS.items():
            value = known.pop(name, None)
            if isinstance(value, Mapping):
                known[name] = read(value)
        if "target" in known:
            known["target"] = target_from_json(known["target"], where)
        if "budget_seconds" in known:
            known["budget_seconds"] = budget_of(where, known)
        known["partial_data"] = known.get("partial_data", False) is not False
        others = {key: value for key, value in content.items() if key not in names}
        return cls(**known, others=others)


def budget_of(where: str, entry: Mapping[str, Any]) -> float:
    """`budget_seconds` of a JSON object; infinite where nothing is said."""
    budget = finite_number(where, entry, "budget_seconds", default=math.inf)
    if budget <= 0:
        raise BadLogs(f"{where}: 'budget_seconds' must be above 0, not {budget:g}.")
    return budget


def _known(record: Any, *left_out: str) -> dict[str, Any]:
    """The fields that are not None; not their parts."""
    pairs = ((f.name, getattr(record, f.name)) for f in dataclasses.fields(record))
    return {k: v for k, v in pairs if v is not None and k not in left_out}
