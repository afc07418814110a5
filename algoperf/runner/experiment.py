"""Plans the trials of a run and runs them one after the other, each in its own process."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from algoperf import logs, prepared
from algoperf.errors import AlgoPerfError, BadLogs, BadSettings
from algoperf.logs import Outcome
from algoperf.runner.outcomes import Ending
from algoperf.runner.randomness import trial_seed
from algoperf.runner.settings import Settings, TrialPlan
from algoperf.runner.trial_process import (
    EXIT_WRONG_INPUT,
    load_backend,
    run_trial,
    trial_folder,
)
from algoperf.runner.tuning import load_search_space

# Outcomes after which `--resume` leaves a trial alone.
_FINAL = set(Outcome) - {Outcome.INFRASTRUCTURE_CRASHED, Outcome.PREEMPTED}


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

    Under `torchrun` every process calls this and runs the trials itself; otherwise each trial
    gets a process, so that nothing (compiled code, threads, memory) passes from one to the next.
    """
    _check_input(settings)
    plans = plan_trials(settings)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or not settings.isolate:
        return _run_here(plans, settings, say)
    endings = []
    for plan in _plans_left(plans, settings, say):
        ending = _run_in_process(plan)
        say(_sentence(plan, ending))
        endings.append(ending)
    return not any(ending.is_failure for ending in endings)


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
    backend = load_backend(settings)
    is_good = True
    try:
        left = _plans_left(plans, settings, say) if backend.rank == 0 else []
        # The first process alone looks at the folders, and tells the others what to run.
        is_left = backend.slowest([float(plan in left) for plan in plans])
        for plan in [
            plan for plan, wanted in zip(plans, is_left, strict=True) if wanted
        ]:
            ending = run_trial(plan, backend)
            is_good &= not ending.is_failure
            if backend.rank == 0:
                say(_sentence(plan, ending))
    finally:
        backend.close()
    return is_good


def _run_in_process(plan: TrialPlan) -> Ending:
    with tempfile.TemporaryDirectory(prefix="algoperf-") as folder:
        path = Path(folder) / "plan.json"
        path.write_text(plan.dumps())
        process = subprocess.Popen(
            _command(plan.settings, path), start_new_session=True
        )
        try:
            status = process.wait()
        finally:
            _end_family(process)
    if status == EXIT_WRONG_INPUT:
        raise WrongInput("")
    folder_of_trial = trial_folder(plan)
    outcome, reason = logs.read_outcome(folder_of_trial)
    if outcome is None:
        outcome, reason = Outcome.INFRASTRUCTURE_CRASHED, _died(status)
        if folder_of_trial.is_dir():
            logs.write_outcome(folder_of_trial, outcome, reason)
    return Ending(outcome, reason)


def _command(settings: Settings, plan: Path) -> list[str]:
    module = ["-m", "algoperf.runner.trial_process", str(plan)]
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


def _end_family(process: subprocess.Popen[bytes]) -> None:
    """Ends whatever a trial's process has left behind.

    torchrun gives each worker a process group of its own, so descendants are ended one by one
    while their parent still lives, and then its group.
    """
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _died(status: int) -> str:
    if status < 0:
        return (
            f"its process was ended by {signal.Signals(-status).name}; SIGKILL often means that "
            "the host ran out of memory"
        )
    return f"its process ended with status {status} without a word"


def _sentence(plan: TrialPlan, ending: Ending) -> str:
    s = plan.settings
    return (
        f"{s.experiment_name}, {s.workload} ({s.framework}), study {plan.study}, trial "
        f"{plan.trial}: {ending.outcome.value}: {ending.reason}."
    )
