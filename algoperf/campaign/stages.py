"""The stages of a campaign around the running itself: checks, costs, shipped data, the ranking."""

import json
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import logs, registry
from algoperf.campaign.plan import Entry, Plan, budget_seconds
from algoperf.definition import WorkloadDefinition
from algoperf.errors import AlgoPerfError, BadData, BadSettings
from algoperf.prepared import MANIFEST
from algoperf.procedures import rehearsal
from algoperf.rulesets import TuningRuleset
from algoperf.runner import door
from algoperf.runner.fairness import review
from algoperf.runner.plan import plan_trials
from algoperf.runner.settings import Settings
from algoperf.runner.tuning import load_search_space

_MOST_SHOWN = 8
_BYTES_OF_EVALUATION = 1_500  # a row of the logs, roughly
_KEPT_CHECKPOINTS = 2
# Parameters, and the two moments of an optimizer such as Adam, in float32.
_CHECKPOINT_BYTES_PER_PARAMETER = 12
_EXAMINE = "algoperf.campaign.examine"


def prepare_shipped(plan: Plan, say: Callable[[str], None]) -> None:
    """Prepares the data of mini workloads, which come with the package, where missing."""
    for definition in _definitions(plan):
        folder = plan.data_dir / definition.prepared_name
        if definition.tier == "mini" and not (folder / MANIFEST).exists():
            say(f"preparing the data of {definition.name} in {folder}")
            rehearsal.prepare_shipped(definition, plan.data_dir)


def _definitions(plan: Plan) -> list[WorkloadDefinition]:
    return [registry.definition(name) for name in plan.workloads]


def check(plan: Plan, *, is_data_coming: bool = False) -> list[str]:
    """Finds all that is wrong with a plan before anything starts; returns what to look at.

    is_data_coming: the data of mini workloads will be prepared when the campaign runs.
    Raises `BadSettings` with the problems, each once.
    """
    problems: dict[str, None] = {}
    for settings in plan.all_settings():
        try:
            if settings.search_space is not None:
                load_search_space(settings.search_space)
            door.check_before_start(settings)
        except AlgoPerfError as error:
            is_no_data = isinstance(error, BadData)
            if not (is_no_data and is_data_coming and _is_shipped(settings)):
                problems[str(error)] = None
    if not problems:
        for entry in plan.submissions:
            problems |= dict.fromkeys(examine(entry, plan.workloads))
    _raise(list(problems))
    definitions = registry.definitions()
    return [
        f"{entry.name}: {hint}"
        for entry in plan.submissions
        for hint in review.hints(entry.path, definitions)
    ]


def _is_shipped(settings: Settings) -> bool:
    """Whether its data are part of the package, and not prepared yet."""
    is_there = (settings.data_folder / MANIFEST).exists()
    return settings.definition.tier == "mini" and not is_there


def _raise(problems: Sequence[str]) -> None:
    if not problems:
        return
    if len(problems) == 1:
        raise BadSettings(problems[0])
    more = len(problems) - _MOST_SHOWN
    lines = [f"  - {problem}" for problem in problems[:_MOST_SHOWN]]
    lines += [f"  and {more} more"] if more > 0 else []
    raise BadSettings(f"{len(problems)} problems:\n" + "\n".join(lines))


def examine(entry: Entry, workloads: Sequence[str]) -> list[str]:
    """Problems that only loading the submission shows; in a process of its own."""
    command = [sys.executable, "-P", "-m", _EXAMINE, str(entry.path), *workloads]
    result = subprocess.run(command, capture_output=True, text=True)
    try:
        problems = json.loads(result.stdout.splitlines()[-1])
        return [f"{entry.name}: {problem}" for problem in problems]
    except (ValueError, IndexError):
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        return [f"{entry.name} ended the process that loads it: {last}"]


@dataclass(frozen=True)
class Cost:
    """What a workload costs a campaign at most."""

    workload: str
    trials: int
    seconds: float  # of submission time, if every trial uses its whole budget
    longest: float  # of one trial
    disk_bytes: float
    expected_seconds: float = math.nan  # by measured step times; NaN: not measured


def costs(plan: Plan, speeds: Path | None = None) -> list[Cost]:
    """The worst case of each workload; with measured step times also what to expect.

    speeds: a calibration file.
    """
    measured = _step_seconds(speeds)
    parameters = _parameter_counts(plan)
    found = []
    for workload in plan.workloads:
        trials, seconds, longest, disk, expected = 0, 0.0, 0.0, 0.0, 0.0
        for entry in plan.submissions:
            settings = plan.settings(entry, workload)
            count = len(plan_trials(settings))
            budget = budget_seconds(settings)
            step = measured.get((workload, entry.framework), math.nan)
            trials += count
            seconds += count * budget
            longest = max(longest, budget)
            expected += count * min(budget, step * _steps(settings))
            disk += count * _disk_bytes(settings, parameters, budget)
        found.append(Cost(workload, trials, seconds, longest, disk, expected))
    return found


def _steps(settings: Settings) -> float:
    hint = settings.definition.limits_of(settings.rules).step_hint
    return min(hint, settings.max_global_steps or hint)


def _disk_bytes(
    settings: Settings, parameters: dict[tuple[str, str], int], budget: float
) -> float:
    """Of a trial's logs and checkpoints; 0 for checkpoints of unknown size."""
    period = settings.definition.eval_period_for(settings.rules)
    rows = budget / period * _BYTES_OF_EVALUATION
    base = settings.definition.base_name
    size = parameters.get((base, settings.framework), 0)
    if not settings.save_checkpoints or settings.definition.tier == "mini":
        return rows
    return rows + _KEPT_CHECKPOINTS * size * _CHECKPOINT_BYTES_PER_PARAMETER


def _parameter_counts(plan: Plan) -> dict[tuple[str, str], int]:
    """Parameters of full workloads, where the plan has some; asked of the framework."""
    if all(definition.tier != "full" for definition in _definitions(plan)):
        return {}
    counts = {}
    for framework in sorted({entry.framework for entry in plan.submissions}):
        for name, count in rehearsal.parameter_counts(framework).items():
            counts[name, framework] = count
    return counts


def _step_seconds(path: Path | None) -> dict[tuple[str, str], float]:
    """Seconds of a step by workload and framework, from a calibration file."""
    if path is None:
        return {}
    door.check_file(path, "calibration file")
    try:
        content = json.loads(path.read_text())
        return {
            (facts["workload"], facts["framework"]): float(speed["step_seconds"])
            for facts, speed in ((json.loads(k), v) for k, v in content.items())
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadSettings(
            f"{path} is not a calibration file ({error!r}). `algoperf run --calibrate FILE` "
            "makes one."
        ) from None


def leaderboards(plan: Plan) -> list[Any]:
    """The rankings of what the folder holds by now: one for each tuning ruleset."""
    tunings = sorted({entry.tuning for entry in plan.submissions})
    return [_leaderboard(plan, tuning) for tuning in tunings]


def _leaderboard(plan: Plan, tuning: TuningRuleset) -> Any:
    found = logs.scan(plan.folder)
    names = {entry.name for entry in plan.submissions if entry.tuning == tuning}
    return registry.scoring_module("leaderboard").score(
        [trial for trial in found.trials if trial.id.submission in names],
        plan.ruleset,
        tuning=tuning,
        held_out=list(plan.held_out) or None,
        num_studies=plan.studies,
        left_out=found.left_out,
    )
