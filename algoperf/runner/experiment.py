"""Runs the planned trials of a run one after the other."""

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from algoperf import logs
from algoperf.logs import Outcome
from algoperf.runner import door, loggers, setup
from algoperf.runner.launch import launch
from algoperf.runner.outcomes import TRACEBACK_FILE, Ending
from algoperf.runner.plan import TrialPlan, plan_trials, trials_left
from algoperf.runner.settings import Settings
from algoperf.runner.supervision.preemption import Preempted, StopRequest
from algoperf.runner.trial_observers import TrialObserver, replay
from algoperf.runner.trial_process import OwnProcess, run_trial


def run(
    settings: Settings,
    say: Callable[[str], None] = print,
    after_trial: Callable[[TrialPlan], bool] = lambda plan: True,
    observe: Callable[[Sequence[TrialPlan]], TrialObserver] | None = None,
) -> bool:
    """Runs all trials of a run; True if none of them failed.

    `after_trial` is called after each one that has a process of its own; False is a failure.
    `observe` makes an observer of the trials that are left.
    SIGTERM stops the running trial at its next step, with a checkpoint, and raises `Preempted`.
    Under `torchrun` every process calls this and runs the trials itself; otherwise each trial
    gets a process, so that nothing (compiled code, threads, memory) passes from one to the next.
    """
    door.check_before_start(settings)
    plans = plan_trials(settings)
    if is_under_torchrun() or not settings.isolate:
        return _run_here(plans, settings, say)
    endings, is_good = [], True
    with StopRequest().listen() as stop:
        left = trials_left(plans, settings, say)
        observers = [observe(left)] if observe is not None else []
        for plan in left:
            ending = launch(plan, observers)
            say(sentence(plan, ending))
            endings.append(ending)
            is_good &= after_trial(plan)
            if stop.is_set or ending.outcome is Outcome.PREEMPTED:
                raise Preempted
    return is_good and not any(ending.is_failure for ending in endings)


def is_under_torchrun() -> bool:
    """Whether this is one of several processes that the user's torchrun has started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first_process() -> bool:
    """Whether this process speaks for all that the user's torchrun has started."""
    return not is_under_torchrun() or os.environ.get("RANK", "0") == "0"


def _run_here(
    plans: Sequence[TrialPlan], settings: Settings, say: Callable[[str], None]
) -> bool:
    own = OwnProcess() if is_under_torchrun() else None
    backend = setup.load_backend(settings)
    is_good = True
    try:
        left = trials_left(plans, settings, say) if backend.rank == 0 else []
        # The first process alone looks at the folders, and tells the others what to run.
        is_left = backend.processes.broadcast([plan in left for plan in plans])
        for plan in itertools.compress(plans, is_left):
            ending = run_trial(plan, backend, own)
            is_good &= not ending.is_failure
            if backend.rank == 0:
                _tell_loggers(plan)
                say(sentence(plan, ending))
            if ending.outcome is Outcome.PREEMPTED:
                raise Preempted
    finally:
        backend.close()
    return is_good


def _tell_loggers(plan: TrialPlan) -> None:
    """Copies the logs of a trial that had no launcher, now that its clock has stopped."""
    if plan.settings.log_to:
        names = loggers.make(plan.settings.log_to)
        replay(plan, names, logs.read_outcome(plan.folder))


def sentence(plan: TrialPlan, ending: Ending, caveats: Sequence[str] = ()) -> str:
    """A line about a trial that has ended."""
    s = plan.settings
    notes = f" Note: {'; '.join(caveats)}." if caveats else ""
    return (
        f"{s.experiment_name}, {s.workload} ({s.framework}), study {plan.study}, trial "
        f"{plan.trial}: {ending.outcome.value}: {ending.reason}.{notes}"
        f"{_traceback_of(plan.folder)}"
    )


def _traceback_of(folder: Path) -> str:
    path = folder / TRACEBACK_FILE
    return f" The whole traceback is in {path}." if path.is_file() else ""
