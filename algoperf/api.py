"""What `import algoperf` offers besides the version: runs, results and the observer hook.

The names are listed in `algoperf.__all__` and are loaded when they are first used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from algoperf import paths, rulesets
from algoperf.campaign import single
from algoperf.campaign.plan import make_entry, workloads_of
from algoperf.errors import AlgoPerfError, UnknownName, near
from algoperf.evaluations import EvaluationRow
from algoperf.logs import Trial, read_trial
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.results import Leaderboard, Results, load
from algoperf.rulesets import TuningRuleset
from algoperf.runner.plan import plan_trials
from algoperf.runner.settings import Settings
from algoperf.runner.trial_observers import TrialInfo, TrialObserver

__all__ = [
    "AlgoPerfError",
    "EvaluationRow",
    "Leaderboard",
    "Outcome",
    "OutcomeRecord",
    "Results",
    "Trial",
    "TrialInfo",
    "TrialObserver",
    "load",
    "run",
]

_CHOSEN_HERE = {
    "submission_path",
    "workload",
    "framework",
    "experiment_dir",
    "experiment_name",
    "search_space",
    "tuning",
    "on_existing",
}
_OPTIONS = sorted(set(Settings.__dataclass_fields__) - _CHOSEN_HERE)


def run(
    submission: str | Path,
    workloads: str | Sequence[str],
    *,
    experiment_dir: str | Path = "experiments",
    name: str | None = None,
    framework: str | None = None,
    search_space: str | Path | None = None,
    tuning: TuningRuleset | None = None,
    if_exists: Literal["refuse", "resume", "overwrite"] = "refuse",
    observers: Sequence[TrialObserver] = (),
    **options: Any,
) -> Results:
    """Times a submission on workloads, as `algoperf run` does; returns the trials of this run.

    submission: its Python file.
    workloads: one or more names, or tier:mini or tier:full.
    experiment_dir, name: where logs are written, and the submission's name in them.
    framework, search_space, tuning: inferred from the submission where they are left out.
    if_exists: what happens to trials that were run before.
    observers: are told how trials go; see `TrialObserver`.
    options: the other fields of `algoperf.runner.settings.Settings`, such as num_studies=1,
    num_trials=3, max_global_steps=200 or data_dir="data".

    Every trial runs in a process of its own; progress goes to stderr. A trial that failed is
    in the results, with its outcome. AlgoPerfError says what is wrong with the arguments.
    """
    ruleset = options.get("ruleset", rulesets.DEFAULT_RULESET)
    entry = make_entry(
        paths.absolute(_path(submission)),
        name=name,
        framework=framework,
        search_space=None if search_space is None else _path(search_space),
        tuning=tuning,
    )
    words = [workloads] if isinstance(workloads, str) else workloads
    settings = [
        Settings(
            submission_path=entry.path,
            workload=workload,
            framework=entry.framework,
            experiment_dir=_path(experiment_dir),
            experiment_name=entry.name,
            search_space=entry.search_space,
            tuning=entry.tuning,
            on_existing=if_exists,
            **_checked(options),
        )
        for workload in workloads_of(words, rulesets.ruleset(ruleset))
    ]
    single.run(settings, say=lambda text: None, observers=observers)
    return Results(
        tuple(
            read_trial(plan.id, plan.folder)
            for one in settings
            for plan in plan_trials(one)
            if plan.folder.is_dir()
        )
    )


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    for option in options:
        if option not in _OPTIONS:
            raise UnknownName(
                f"run() has no option {option!r}.{near(option, _OPTIONS)} Options: "
                f"{', '.join(_OPTIONS)}."
            )
    if "data_dir" in options:
        options = {**options, "data_dir": _path(options["data_dir"])}
    if isinstance(options.get("log_to"), str):
        options = {**options, "log_to": (options["log_to"],)}
    return {**options, "log_to": tuple(options.get("log_to", ()))}


def _path(text: str | Path) -> Path:
    return paths.expanded(str(text))
