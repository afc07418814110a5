"""Plans the trials of a run and runs them one after the other, each in its own process."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from algoperf import exit_status, logs, prepared
from algoperf.errors import AlgoPerfError, BadLogs, BadSettings
from algoperf.logs import Outcome
from algoperf.runner.outcomes import STACKS_FILE, Ending
from algoperf.runner.randomness import trial_seed
from algoperf.runner.settings import Settings, TrialPlan
from algoperf.runner.supervision.preemption import Preempted, StopRequest
from algoperf.runner.supervision.processes import Family
from algoperf.runner.supervision.watchdog import is_overdue
from algoperf.runner.trial_process import (
    OwnProcess,
    load_backend,
    run_trial,
    trial_folder,
)
from algoperf.runner.tuning import load_search_space

# Outcomes after which `--resume` leaves a trial alone.
_FINAL = set(Outcome) - {Outcome.INFRASTRUCTURE_CRASHED, Outcome.PREEMPTED}
_MODULE = "algoperf.runner.trial_process"
_LOOK_SECONDS = 5.0


class WrongInput(AlgoPerfError):
    """A trial's process has said what is wrong; there is nothing to add."""


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
                plans.append(
                    TrialPlan(
                        settings,
                        study,
                        trial,
                        seed,
                        None if point is None else dict(point),
                    )
                )
    if not plans:
        raise BadSettings(
            f"There is no trial to run: each study has {num_trials}, and trials "
            f"{settings.first_trial} to {settings.last_trial} were asked for."
        )
    return plans


def run(settings: Settings, say: Callable[[str], None] = print) -> bool:
    """Runs all trials of a run; True if none of them failed.

    SIGTERM stops the running trial at its next step, with a checkpoint, and raises `Preempted`.
    Under `torchrun` every process calls this and runs the trials itself; otherwise each trial
    gets a process, so that nothing (compiled code, threads, memory) passes from one to the next.
    """
    _check_input(settings)
    plans = plan_trials(settings)
    if _is_under_torchrun() or not settings.isolate:
        return _run_here(plans, settings, say)
    endings = []
    with StopRequest().listen() as stop:
        for plan in _plans_left(plans, settings, say):
            ending = _run_in_process(plan)
            say(_sentence(plan, ending))
            endings.append(ending)
            if stop.is_set or ending.outcome is Outcome.PREEMPTED:
                raise Preempted
    return not any(ending.is_failure for ending in endings)


def _is_under_torchrun() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _check_input(settings: Settings) -> None:
    """What can be checked without a framework, before anything starts."""
    definition = settings.definition
    if not settings.submission_path.is_file():
        raise BadSettings(f"There is no submission file {settings.submission_path}.")
    prepared.PreparedData.open(
        settings.data_folder,
        dataset=definition.dataset,
        splits=definition.splits,
        allow_partial=settings.allow_partial_data,
    )


def _plans_left(
    plans: list[TrialPlan], settings: Settings, say: Callable[[str], None]
) -> list[TrialPlan]:
    """Applies the policy for folders that exist: refuse, resume or overwrite."""
    existing = [plan for plan in plans if trial_folder(plan).exists()]
    if existing and settings.on_existing == "refuse":
        raise BadLogs(
            f"{trial_folder(existing[0])} exists already. Go on with --resume, start anew with "
            "--overwrite, or choose another --experiment-name."
        )
    if settings.on_existing == "overwrite":
        for plan in existing:
            shutil.rmtree(trial_folder(plan))
        return plans
    finished = [
        plan for plan in existing if logs.read_outcome(trial_folder(plan))[0] in _FINAL
    ]
    if finished:
        say(f"{len(finished)} of {len(plans)} trials are finished already.")
    for plan in existing:
        if plan not in finished:
            (trial_folder(plan) / logs.OUTCOME_FILE).unlink(missing_ok=True)
    return [plan for plan in plans if plan not in finished]


def _run_here(
    plans: list[TrialPlan], settings: Settings, say: Callable[[str], None]
) -> bool:
    own = OwnProcess() if _is_under_torchrun() else None
    backend = load_backend(settings)
    is_good = True
    try:
        left = _plans_left(plans, settings, say) if backend.rank == 0 else []
        # The first process alone looks at the folders, and tells the others what to run.
        is_left = backend.slowest([float(plan in left) for plan in plans])
        for plan in [
            plan for plan, wanted in zip(plans, is_left, strict=True) if wanted
        ]:
            ending = run_trial(plan, backend, own_process=own)
            is_good &= not ending.is_failure
            if backend.rank == 0:
                say(_sentence(plan, ending))
            if ending.outcome is Outcome.PREEMPTED:
                raise Preempted
    finally:
        backend.close()
    return is_good


def _run_in_process(plan: TrialPlan) -> Ending:
    folder_of_trial = trial_folder(plan)
    with tempfile.TemporaryDirectory(prefix="algoperf-") as folder:
        path, alive = Path(folder) / "plan.json", Path(folder) / "alive"
        path.write_text(plan.dumps())
        command = _command(plan.settings, path, alive)
        family = Family(command, plan.settings.environment)
        stop = StopRequest()
        try:
            with stop.listen(then=lambda: family.notify(_MODULE)):
                status = _wait(family, alive)
        finally:
            family.end()
    if status == exit_status.WRONG_INPUT:
        raise WrongInput("")
    outcome, reason = logs.read_outcome(folder_of_trial)
    if outcome is None:
        outcome, reason = _ended_without_a_word(status, folder_of_trial, stop)
        if folder_of_trial.is_dir():
            logs.write_outcome(folder_of_trial, outcome, reason)
    return Ending(outcome, reason)


def _wait(family: Family, alive: Path) -> int | None:
    """The status with which a trial's process ends; None if it had to be ended from here."""
    while True:
        try:
            return family.process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if is_overdue(alive):
                return None


def _ended_without_a_word(
    status: int | None, folder: Path, stop: StopRequest
) -> tuple[Outcome, str]:
    if stop.is_set:
        return Outcome.PREEMPTED, "SIGTERM ended it before its first step"
    stacks = folder / STACKS_FILE.format(rank=0)
    if status == exit_status.FAILED and stacks.is_file() and stacks.stat().st_size:
        reason = f"it hung in native code; {stacks.name} shows what every thread did"
    elif status is None:
        reason = "its process stood still as a whole, and was ended"
    else:
        reason = _died(status)
    return Outcome.INFRASTRUCTURE_CRASHED, reason


def _command(settings: Settings, plan: Path, alive: Path) -> list[str]:
    module = ["-m", _MODULE, str(plan), str(os.getpid()), str(alive)]
    if settings.num_processes == 1:
        return [sys.executable, *module]
    count = f"--nproc_per_node={settings.num_processes}"
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        count,
        *module,
    ]


def _died(status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = "; often this means that the host ran out of memory"
        return f"its process was ended by {name}{hint if name == 'SIGKILL' else ''}"
    return f"its process ended with status {status} without a word"


def _sentence(plan: TrialPlan, ending: Ending) -> str:
    s = plan.settings
    return (
        f"{s.experiment_name}, {s.workload} ({s.framework}), study {plan.study}, trial "
        f"{plan.trial}: {ending.outcome.value}: {ending.reason}."
    )
