"""Which trials a run consists of: their points, seeds and folders, and which are left to do."""

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import logs
from algoperf.errors import BadLogs, BadSettings
from algoperf.logs import Outcome, TrialId
from algoperf.runner.randomness import trial_seed
from algoperf.runner.settings import Settings
from algoperf.runner.supervision.folder_lock import locked
from algoperf.runner.tuning import load_search_space

# Outcomes after which `--resume` leaves a trial alone.
FINAL_OUTCOMES = frozenset(Outcome) - {
    Outcome.INFRASTRUCTURE_CRASHED,
    Outcome.PREEMPTED,
}


@dataclass(frozen=True)
class TrialPlan:
    """One trial to run: which, with which point and seed. Written down for its process."""

    settings: Settings
    study: int
    trial: int
    seed: int
    point: dict[str, Any] | None  # None in self-tuning

    @property
    def id(self) -> TrialId:
        """The trial's identity in the logs."""
        s = self.settings
        return TrialId(
            s.experiment_name, self.study, s.workload, s.framework, self.trial
        )

    @property
    def folder(self) -> Path:
        """Where the trial logs."""
        return self.id.folder(self.settings.experiment_dir)

    def dumps(self) -> str:
        """As JSON text."""
        return json.dumps(
            {
                "settings": self.settings.as_json(),
                "study": self.study,
                "trial": self.trial,
                "seed": self.seed,
                "point": self.point,
            }
        )

    @classmethod
    def loads(cls, text: str) -> "TrialPlan":
        """The inverse of `dumps`."""
        values = json.loads(text)
        return cls(**{**values, "settings": Settings.from_json(values["settings"])})


def plan_trials(settings: Settings) -> list[TrialPlan]:
    """All trials of a run: points and seeds are pure functions of what they are for."""
    rules = settings.rules
    num_studies = settings.num_studies or rules.studies(settings.tuning)
    num_trials = settings.num_trials or rules.trials(settings.tuning)
    if settings.tuning == "self":
        num_trials = settings.num_trials or 1
    studies = range(settings.first_study, settings.first_study + num_studies)
    space = load_search_space(settings.search_space) if settings.search_space else None
    plans = []
    for study in studies:
        points = (
            space.points(settings.seed, study, num_trials)
            if space
            else [None] * num_trials
        )
        last = settings.last_trial or len(points)
        for trial, point in enumerate(points, start=1):
            if settings.first_trial <= trial <= last:
                seed = trial_seed(settings.seed, settings.workload, study, trial)
                values = None if point is None else dict(point)
                plans.append(TrialPlan(settings, study, trial, seed, values))
    if not plans:
        raise BadSettings(
            f"There is no trial to run: each study has {num_trials}, and trials "
            f"{settings.first_trial} to {settings.last_trial} were asked for."
        )
    return plans


def trials_left(
    plans: Sequence[TrialPlan], settings: Settings, say: Callable[[str], None]
) -> list[TrialPlan]:
    """Applies the policy for folders that exist: refuse, resume or overwrite.

    Nothing is removed unless all folders concerned could be locked: what another process is
    running stays untouched. Raises `BadLogs` then, and where the policy is to refuse.
    """
    existing = [plan for plan in plans if plan.folder.exists()]
    if existing and settings.on_existing == "refuse":
        raise BadLogs(
            f"{existing[0].folder} exists already. Go on with --resume, start anew with "
            "--overwrite, or choose another --experiment-name."
        )
    with contextlib.ExitStack() as stack:
        for plan in existing:
            stack.enter_context(locked(plan.folder))
        if settings.on_existing == "overwrite":
            for plan in existing:
                shutil.rmtree(plan.folder)
            return list(plans)
        records = [logs.read_outcome(plan.folder) for plan in existing]
        finished = [
            plan
            for plan, record in zip(existing, records, strict=True)
            if record is not None and record.outcome in FINAL_OUTCOMES
        ]
        for plan in existing:
            if plan not in finished:
                (plan.folder / logs.OUTCOME_FILE).unlink(missing_ok=True)
    if finished:
        say(f"{len(finished)} of {len(plans)} trials are finished already.")
    return [plan for plan in plans if plan not in finished]
