"""What `algoperf run` says when it ends: where the logs are, and what to do next."""

import shlex
from collections.abc import Sequence
from typing import Any

from algoperf import logs
from algoperf.outcome import Outcome
from algoperf.results import trial_row
from algoperf.rulesets import DEFAULT_RULESET
from algoperf.runner.plan import TrialPlan, plan_trials
from algoperf.runner.settings import Settings


def plans_of(settings: Sequence[Settings]) -> list[TrialPlan]:
    """All trials of a run."""
    return [plan for one in settings for plan in plan_trials(one)]


def as_json(settings: Sequence[Settings]) -> dict[str, Any]:
    """How each trial ended, for programs."""
    trials = [
        trial_row(logs.read_trial(plan.id, plan.folder))
        for plan in plans_of(settings)
        if plan.folder.is_dir()
    ]
    return {"experiment_dir": str(settings[0].experiment_dir), "trials": trials}


def hints(settings: Sequence[Settings]) -> str:
    """Where the logs are, and the next command."""
    first = settings[0]
    if not (first.experiment_dir / first.experiment_name).is_dir():
        return ""
    plans = [plan for plan in plans_of(settings) if plan.folder.is_dir()]
    if not plans:
        return ""
    lines = [f"Logs: {first.experiment_dir / first.experiment_name}"]
    outcomes = [_outcome(plan) for plan in plans]
    if None in outcomes or Outcome.PREEMPTED in outcomes:
        return "\n".join(
            [*lines, "Next: run the same command with --resume to continue."]
        )
    if Outcome.SUBMISSION_CRASHED in outcomes:
        lines.append("Next: correct the submission and run again with --overwrite.")
    elif Outcome.INFRASTRUCTURE_CRASHED in outcomes:
        lines.append("Next: run the same command with --resume to repeat what failed.")
    elif first.profile_dir is not None:
        lines.append(
            f"Profiles: {first.profile_dir}; view them in TensorBoard or Perfetto."
        )
    elif not first.pdb:
        lines.append(f"Next: {_score_command(first)}")
        if first.cockpit is not None:
            lines.append(f"      {_command('cockpit', plans[0].folder)}")
    return "\n".join(lines)


def _outcome(plan: TrialPlan) -> Outcome | None:
    record = logs.read_outcome(plan.folder)
    return record.outcome if record else None


def _score_command(settings: Settings) -> str:
    words: list[object] = [settings.experiment_dir]
    if settings.ruleset != DEFAULT_RULESET:
        words += ["--rules", settings.ruleset]
    if settings.num_studies is not None:
        words += ["--studies", settings.num_studies]
    return _command("score", *words)


def _command(*words: object) -> str:
    return shlex.join(["algoperf", *map(str, words)])
