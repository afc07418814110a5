"""The plan of a campaign as one frozen value: what is to run, and under which rules."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import registry, rulesets
from algoperf.definition import WorkloadDefinition
from algoperf.errors import BadSettings, UnknownName, near
from algoperf.frameworks import check_framework
from algoperf.procedures import rehearsal
from algoperf.rulesets import Ruleset, TuningRuleset
from algoperf.runner import door
from algoperf.runner.plan import TrialPlan, plan_trials
from algoperf.runner.settings import Settings, default_experiment_name

SPACE_FILE = "tuning_search_space.json"  # beside a submission
_TIER = "tier:"


@dataclass(frozen=True)
class Entry:
    """One submission of a campaign."""

    path: Path
    name: str  # in the logs
    framework: str
    tuning: TuningRuleset
    search_space: Path | None = None
    authors: str = ""
    link: str = ""


@dataclass(frozen=True)
class Plan:
    """Everything that decides which trials a campaign consists of and how each is run."""

    name: str
    folder: Path  # of the logs
    submissions: tuple[Entry, ...]
    workloads: tuple[str, ...]
    data_dir: Path
    ruleset: str = rulesets.DEFAULT_RULESET
    held_out_seed: str = ""  # public text; empty: nothing was drawn
    held_out: tuple[str, ...] = ()  # as drawn
    studies: int | None = None  # None: what the ruleset says
    trials: int | None = None  # of a study
    seed: int = 0
    precision: str = "float32"
    processes: int = 1  # per PyTorch trial
    torch_compile: bool = False
    checkpoints: bool = True
    checkpoint_every: str = "auto"
    partial_data: bool = False
    max_steps: int | None = None
    eval_every_steps: int | None = None
    by_steps: bool = False
    hang_seconds: float | None = None
    notice_seconds: float = 30.0
    log_to: tuple[str, ...] = ()  # loggers, as `--log-to` names them

    @property
    def rules(self) -> Ruleset:
        """The ruleset's value."""
        return rulesets.ruleset(self.ruleset)

    def settings(self, entry: Entry, workload: str) -> Settings:
        """The settings of all trials of a submission on a workload."""
        framework = check_framework(entry.framework)
        return Settings(
            submission_path=entry.path,
            framework=entry.framework,
            workload=workload,
            experiment_dir=self.folder,
            experiment_name=entry.name,
            data_dir=self.data_dir,
            ruleset=self.ruleset,
            tuning=entry.tuning,
            search_space=entry.search_space,
            num_trials=None if entry.tuning == "self" else self.trials,
            num_studies=self.studies,
            seed=self.seed,
            max_global_steps=self.max_steps,
            on_existing="resume",
            save_checkpoints=self.checkpoints,
            keep_evidence=not self.by_steps,
            by_steps=self.by_steps,
            checkpoint_every=self.checkpoint_every,
            precision=self.precision,
            torch_compile=self.torch_compile and framework.can_compile,
            num_processes=self.processes if framework.uses_processes else 1,
            allow_partial_data=self.partial_data,
            eval_period_steps=self.eval_every_steps,
            hang_seconds=self.hang_seconds,
            notice_seconds=self.notice_seconds,
            log_to=self.log_to,
        )

    def all_settings(self) -> list[Settings]:
        """The settings of every submission on every workload."""
        return [
            self.settings(entry, workload)
            for entry in self.submissions
            for workload in self.workloads
        ]

    def trial_plans(self) -> list[TrialPlan]:
        """All trials, in the order in which they should start.

        One study of everything comes before the next; within a study, those that may take
        longest come first.
        """
        return in_order(p for s in self.all_settings() for p in plan_trials(s))

    def as_json(self) -> dict[str, Any]:
        """Plain values; the inverse is `from_json`."""
        content: dict[str, Any] = _plain(dataclasses.asdict(self))
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Plan":
        """The inverse of `as_json`."""
        values = dict(content)
        values["submissions"] = tuple(
            Entry(
                **{
                    **entry,
                    "path": Path(entry["path"]),
                    "search_space": _path_or_none(entry["search_space"]),
                }
            )
            for entry in values["submissions"]
        )
        for name in ("workloads", "held_out"):
            values[name] = tuple(values[name])
        values["log_to"] = tuple(values.get("log_to", ()))  # plans of 0.1 have none
        for name in ("folder", "data_dir"):
            values[name] = Path(values[name])
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _path_or_none(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def budget_seconds(settings: Settings) -> float:
    """The most submission time that one trial may take."""
    limits = settings.definition.limits_of(settings.rules)
    return limits.budget_seconds * settings.rules.budget_factor(settings.tuning)


def in_order(plans: Any) -> list[TrialPlan]:
    """Trials by study, then by budget (longest first), then by their names."""
    budgets: dict[int, float] = {}

    def key(plan: TrialPlan) -> tuple[Any, ...]:
        settings = plan.settings
        if id(settings) not in budgets:
            budgets[id(settings)] = budget_seconds(settings)
        name = (settings.workload, settings.experiment_name, settings.framework)
        return plan.study, -budgets[id(settings)], plan.trial, name

    return sorted(plans, key=key)


def workloads_of(words: Any, rules: Ruleset) -> tuple[str, ...]:
    """The workloads that names and `tier:NAME` stand for, each once, in the order given.

    `tier:full` has the base workloads of the ruleset, `tier:mini` all mini forms.
    """
    found: dict[str, None] = {}
    for word in words:
        if word.startswith(_TIER):
            found |= dict.fromkeys(_of_tier(word.removeprefix(_TIER), rules))
        else:
            registry.definition(word).limits_of(rules)
            found[word] = None
    if not found:
        raise BadSettings(
            "No workload is named. Give names (`algoperf list` shows them) or tier:mini."
        )
    return tuple(found)


def _of_tier(tier: str, rules: Ruleset) -> list[str]:
    definitions = registry.definitions().values()
    tiers = sorted({definition.tier for definition in definitions})
    if tier not in tiers:
        raise UnknownName(
            f"No tier named {tier!r}.{near(tier, tiers)} Choose one of: {', '.join(tiers)}."
        )
    return [d.name for d in definitions if d.tier == tier and _is_whole(d, rules)]


def _is_whole(definition: WorkloadDefinition, rules: Ruleset) -> bool:
    """Whether a tier includes it: no variant, and a workload of the ruleset."""
    is_variant = not definition.is_base and definition.tier != "mini"
    return not is_variant and rules.limits in definition.limits


def make_entry(
    path: Path,
    *,
    name: str | None = None,
    framework: str | None = None,
    search_space: Path | None = None,
    tuning: TuningRuleset | None = None,
    **more: str,
) -> Entry:
    """A submission with what was left out inferred, as `algoperf check` infers it.

    The framework is the one that the file imports; the search space is the file
    `tuning_search_space.json` beside it; without one, the submission tunes itself.
    """
    door.check_file(path, "submission file")
    beside = path.parent / SPACE_FILE
    if search_space is None and tuning != "self" and beside.exists():
        search_space = beside
    if tuning == "external" and search_space is None:
        raise BadSettings(
            f"External tuning needs a search space, and there is no {SPACE_FILE} beside "
            f"{path}. Give one with --search-space, or choose self-tuning."
        )
    return Entry(
        path,
        default_experiment_name(path) if name is None else name,
        framework or _framework_of(path),
        tuning or ("external" if search_space else "self"),
        search_space,
        **more,
    )


def _framework_of(path: Path) -> str:
    try:
        return rehearsal.framework_of(path)[0]
    except BadSettings:
        raise BadSettings(
            f"Cannot tell from the imports of {path} which framework it is for. Say it: "
            "with --framework, or with the key `framework` in a plan."
        ) from None


def with_own_names(entries: Any, are_given: Any) -> tuple[Entry, ...]:
    """Entries whose names differ: one that was inferred gets its framework appended.

    are_given: for each entry, whether its name was given.
    """
    entries, are_given = list(entries), list(are_given)
    names = [entry.name for entry in entries]
    result = [
        entry
        if is_given or names.count(entry.name) == 1
        else dataclasses.replace(entry, name=f"{entry.name}_{entry.framework}")
        for entry, is_given in zip(entries, are_given, strict=True)
    ]
    for entry in result:
        if sum(other.name == entry.name for other in result) > 1:
            raise BadSettings(
                f"Two submissions are named {entry.name!r}. Give each a `name` of its own; "
                "it is the name of its folder in the logs."
            )
    return tuple(result)
