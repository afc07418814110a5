"""Puts one trial together and runs it; as a program, in a process of its own.

`python -m algoperf.runner.trial_process PLAN.json LAUNCHER ALIVE` exits with 0 when the trial
ended regularly, 1 when it failed (the logs say how), 2 when what was given is wrong, 75 when
SIGTERM stopped it. LAUNCHER is the id of the process without which this one ends; ALIVE a file
that the watchdog keeps fresh.
"""

import contextlib
import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from algoperf import backend as backends
from algoperf import exit_status, registry
from algoperf.backend import Backend
from algoperf.definition import WorkloadDefinition
from algoperf.errors import AlgoPerfError, BadSettings
from algoperf.logs import Outcome, TrialId, TrialLog, write_outcome
from algoperf.pipeline import DataRequest, InputQueue
from algoperf.prepared import PreparedData
from algoperf.rulesets import TARGET_SETTING_FACTOR
from algoperf.runner import machine, outcomes
from algoperf.runner.checkpoints import files as checkpoint
from algoperf.runner.clock import Clock
from algoperf.runner.evaluation import Evaluator
from algoperf.runner.fairness.forbidden import ForbiddenActs
from algoperf.runner.fairness.guards import Guards
from algoperf.runner.fairness.intruders import Intruders
from algoperf.runner.observers import (
    Observer,
    Observers,
    ProgressLine,
    Scalars,
    TensorBoard,
)
from algoperf.runner.outcomes import (
    STACKS_FILE,
    TRACEBACK_FILE,
    Ending,
    SubmissionError,
    ending_of,
)
from algoperf.runner.randomness import ProcessRandomness, seed_for
from algoperf.runner.settings import Settings, TrialPlan
from algoperf.runner.supervision import processes
from algoperf.runner.supervision.folder_lock import locked
from algoperf.runner.supervision.memory import Memory
from algoperf.runner.supervision.preemption import StopRequest
from algoperf.runner.supervision.watchdog import Progress, Watchdog
from algoperf.runner.trial import Trial
from algoperf.runner.trial_parts import TrialParts
from algoperf.runner.tuning import as_hyperparameters
from algoperf.submission import load
from algoperf.workload import Workload


def trial_id(plan: TrialPlan) -> TrialId:
    """The identity of a planned trial in the logs."""
    s = plan.settings
    return TrialId(s.experiment_name, plan.study, s.workload, s.framework, plan.trial)


def trial_folder(plan: TrialPlan) -> Path:
    """Where a planned trial logs."""
    return trial_id(plan).folder(plan.settings.experiment_dir)


def load_backend(settings: Settings) -> Backend:
    """The backend that a run's settings ask for."""
    # Where the user's torchrun started this process, the harness could not set them before.
    for name, value in settings.environment.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"precision": settings.precision}
    if settings.framework == "pytorch":
        options["compile"] = settings.torch_compile
    return backends.load(settings.framework, **options)


@dataclass(frozen=True)
class OwnProcess:
    """That this process runs one trial and nothing else, and may be ended with it."""

    launcher: psutil.Process | None = None  # without which the trial has no purpose
    alive: Path | None = None  # kept fresh by the watchdog


def run_trial(
    plan: TrialPlan,
    backend: Backend,
    *,
    started: float | None = None,
    own_process: OwnProcess | None = None,
) -> Ending:
    """Runs a trial to its end and logs it; raises only what is wrong with the input.

    `started`: when the process began, on the clock of `time.perf_counter`.
    """
    is_first = backend.rank == 0
    with (
        StopRequest().listen() as stop,
        locked(trial_folder(plan)) if is_first else contextlib.nullcontext(),
    ):
        setup = _Setup(plan, backend, Clock(started=started), stop)
        with setup.forbidden, contextlib.ExitStack() as stack:
            if own_process is not None:
                with setup.intruders.harness():
                    stack.enter_context(_watchdog(plan, setup, own_process))
            return _run(plan, setup)


def _run(plan: TrialPlan, setup: "_Setup") -> Ending:
    """Loads the submission, on its clock, and trains."""
    backend, folder = setup.backend, trial_folder(plan)
    with setup.clock.submission():
        setup.load_submission()
    saved = _latest_checkpoint(folder, setup.identity)
    if saved is not None:
        setup.clock.go_on_from(saved.rest["seconds"])
    log = _open_log(plan, setup, saved) if backend.rank == 0 else None
    with setup.intruders.harness():
        observers = _observers(plan, setup.workload) if log else Observers()
    if log is not None:
        setup.workload.metrics_logger = Scalars(log.append_scalar_metrics)
        for warning in backend.describe_devices().get("warnings", ()):
            observers.warn(warning)
    trial = Trial(setup.parts(log, observers))
    try:
        ending = trial.run(saved)
    except Exception as error:
        ending = ending_of(error)
        _keep_traceback(folder, error)
    finally:
        observers.close()
    if log is not None:
        seconds = setup.clock.accounting()
        shares = outcomes.time_shares(seconds, trial.data_wait_seconds)
        marks = outcomes.marks_of(shares, setup.forbidden.started)
        log.finish(ending.outcome, ending.reason, seconds, shares=shares, marks=marks)
    return ending


def _watchdog(plan: TrialPlan, setup: "_Setup", own: OwnProcess) -> Watchdog:
    folder, rank = trial_folder(plan), setup.backend.rank

    def record(reason: str) -> None:
        if rank == 0:
            outcome, seconds = Outcome.INFRASTRUCTURE_CRASHED, setup.clock.accounting()
            write_outcome(folder, outcome, reason, seconds)

    return Watchdog(
        setup.progress,
        folder / STACKS_FILE.format(rank=rank),
        on_hang=record,
        hang_seconds=plan.settings.hang_seconds,
        alive=own.alive,
        launcher=own.launcher,
        is_one_of_many=setup.backend.num_processes > 1,
    )


class _Setup:
    """Builds the parts of a trial from its plan."""

    def __init__(
        self, plan: TrialPlan, backend: Backend, clock: Clock, stop: StopRequest
    ) -> None:
        settings, definition = plan.settings, _with_counts(plan.settings)
        self._plan = plan
        self.backend = backend
        self.clock = clock
        self.progress = Progress()
        self._stop = stop
        self._data = registry.module("workloads", definition.folder, "data")
        self._metrics = registry.module("workloads", definition.folder, "metrics")
        model = registry.module("workloads", definition.folder, f"model_{backend.name}")
        self.workload = Workload(
            definition,
            backend,
            model,
            self._metrics,
            ruleset=settings.rules,
            tuning=settings.tuning,
            limits_factor=TARGET_SETTING_FACTOR if settings.target_setting else 1.0,
        )
        self._evaluator = Evaluator(
            self.workload,
            backend,
            self._data,
            self._metrics,
            data_folder=settings.data_folder,
            seed=seed_for(plan.seed, "evaluation"),
            on_batch=self.progress.sign,
        )
        self._watch_for_cheats(model)

    def _watch_for_cheats(self, model: ModuleType) -> None:
        """Takes down how things are before any code of the submission has run."""
        settings, workload = self._plan.settings, self.workload
        self.intruders = Intruders()
        self._guards = Guards(
            modules=(self._data, self._metrics, model),
            objects={
                "workload": workload,
                "model": workload._model,
                "backend": self.backend,
                "evaluator": self._evaluator,
            },
            value=workload.definition,
            settings=self.backend.process_settings,
        )
        datasets = registry.wing_folder("datasets") / workload.definition.dataset
        self.forbidden = ForbiddenActs(
            lambda: self.clock.is_submission,
            data=(settings.data_folder, datasets),
            logs=(settings.experiment_dir / settings.experiment_name,),
            submission=settings.submission_path.parent,
        )

    def load_submission(self) -> None:
        """Imports the submission's file and asks for its batch size."""
        ProcessRandomness(self.backend).seed(self._plan.seed)
        definition = self.workload.definition
        self._submission = load(self._plan.settings.submission_path)
        self.batch_size, self.batch_size_source = self._submission.batch_size(
            definition
        )
        _check_divisible(self.batch_size, self.backend)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with this run to be continued."""
        settings = self._plan.settings
        return {
            "workload": settings.workload,
            "framework": settings.framework,
            "ruleset": settings.ruleset,
            "tuning ruleset": settings.tuning,
            "precision": settings.precision,
            "seed": self._plan.seed,
            "hyperparameters": self._plan.point,
            "batch size": self.batch_size,
            "number of processes": self.backend.num_processes,
            "submission code": machine.code_digest(settings.submission_path),
            "benchmark code": machine.commit(),
        }

    def open_queue(self, position: int) -> InputQueue:
        """The endless training batches from a position on."""
        settings, definition = self._plan.settings, self.workload.definition
        request = DataRequest(
            folder=settings.data_folder,
            split="train",
            splits=definition.splits,
            batch_size=self.batch_size,
            seed=seed_for(self._plan.seed, "data"),
            config=definition.data,
            shard=self.backend.rank,
            num_shards=self.backend.num_processes,
        )
        queue = InputQueue(
            self._data.open_batches(request), self.backend.place, start=position
        )
        self.forbidden.harness_threads = lambda: queue.threads
        return queue

    def parts(self, log: TrialLog | None, observers: Observers) -> TrialParts:
        """Everything that the trial is made of."""
        plan, settings = self._plan, self._plan.settings
        point = plan.point
        return TrialParts(
            workload=self.workload,
            backend=self.backend,
            submission=self._submission,
            rules=settings.rules,
            hyperparameters=None if point is None else as_hyperparameters(point),
            evaluate=self._evaluator.evaluate,
            open_queue=self.open_queue,
            clock=self.clock,
            log=log,
            observers=observers,
            intruders=self.intruders,
            seed=plan.seed,
            identity=self.identity,
            max_global_steps=self._step_limit(),
            save_checkpoints=settings.save_checkpoints,
            stop_at_targets=not settings.target_setting,
            eval_period_steps=settings.eval_period_steps,
            find_breaches=self._breaches,
            memory=Memory(self.backend),
            progress=self.progress,
            stop=self._stop,
        )

    def _breaches(self) -> list[str]:
        return self._guards.find() + self.forbidden.found

    def _step_limit(self) -> int | None:
        settings = self._plan.settings
        return (
            self.workload.step_hint
            if settings.target_setting
            else settings.max_global_steps
        )

    def describe(self) -> dict[str, Any]:
        """The trial's `meta_data`: rules, targets, budgets, hardware, versions, code."""
        plan, settings, workload = self._plan, self._plan.settings, self.workload
        target = workload.definition.target
        return {
            "workload": workload.name,
            "base_workload": workload.definition.base_name,
            "tier": workload.definition.tier,
            "framework": settings.framework,
            "ruleset": settings.ruleset,
            "tuning_ruleset": settings.tuning,
            "target": {
                "metric": target.metric,
                "better": target.better,
                "validation": target.validation,
                "test": target.test,
            },
            "budget_seconds": workload.max_allowed_runtime_sec,
            "step_hint": workload.step_hint,
            "batch_size": self.batch_size,
            "batch_size_source": self.batch_size_source,
            "precision": settings.precision,
            "partial_data": self.workload.definition.splits
            != settings.definition.splits,
            "target_setting": settings.target_setting,
            "eval_period_steps": settings.eval_period_steps,
            "seed": plan.seed,
            "study": plan.study,
            "trial": plan.trial,
            "num_processes": self.backend.num_processes,
            "devices": self.backend.describe_devices(),
            **machine.describe(),
        }


def _with_counts(settings: Settings) -> WorkloadDefinition:
    """The definition; with the split sizes of a partial copy where that is accepted."""
    definition = settings.definition
    if not settings.allow_partial_data:
        return definition
    data = PreparedData.open(
        settings.data_folder, dataset=definition.dataset, allow_partial=True
    )
    return dataclasses.replace(definition, splits=data.splits_like(definition.splits))


def _check_divisible(batch_size: int, backend: Backend) -> None:
    if batch_size % backend.num_devices:
        multiple = backend.num_devices * max(1, batch_size // backend.num_devices)
        raise BadSettings(
            f"The batch size {batch_size} cannot be divided by the {backend.num_devices} "
            f"devices. Return a multiple from get_batch_size, such as {multiple}."
        )


def _latest_checkpoint(
    folder: Path, identity: Mapping[str, Any]
) -> checkpoint.Checkpoint | None:
    return checkpoint.load_latest(
        folder / checkpoint.FOLDER,
        identity,
        warn=lambda text: print(f"algoperf: {text}", file=sys.stderr),
    )


def _open_log(
    plan: TrialPlan, setup: _Setup, saved: checkpoint.Checkpoint | None
) -> TrialLog:
    folder = trial_folder(plan)
    preemptions = len(list(folder.glob("meta_data_*.json")))
    log = TrialLog(
        folder, preemptions=preemptions, keep_steps=saved.step if saved else 0
    )
    log.start(setup.describe(), plan.settings.as_json(), plan.point)
    return log


def _observers(plan: TrialPlan, workload: Workload) -> Observers:
    observers: list[Observer] = []
    if sys.stderr.isatty():
        label = f"{workload.name} study {plan.study} trial {plan.trial}"
        observers.append(
            ProgressLine(
                label, workload.definition.target, workload.max_allowed_runtime_sec
            )
        )
    if plan.settings.tensorboard:
        observers.append(TensorBoard(trial_folder(plan)))
    return Observers(*observers)


def _keep_traceback(folder: Path, error: Exception) -> None:
    """The whole traceback goes into the logs; people are shown one sentence."""
    cause = error.__cause__ if isinstance(error, SubmissionError) else error
    if cause is not None and folder.is_dir():
        text = "".join(traceback.format_exception(cause))
        (folder / TRACEBACK_FILE).write_text(text)


def _process_started() -> float:
    """When this process began, on the clock of `time.perf_counter`."""
    age = time.time() - psutil.Process().create_time()
    return time.perf_counter() - age


def main(arguments: list[str]) -> int:
    """Runs the plan in the file that is named by the first argument."""
    plan = TrialPlan.loads(Path(arguments[0]).read_text())
    processes.adopt_orphans()
    own = OwnProcess(_process(int(arguments[1])), Path(arguments[2]))
    try:
        backend = load_backend(plan.settings)
        try:
            ending = run_trial(
                plan, backend, started=_process_started(), own_process=own
            )
        finally:
            backend.close()
            processes.end_descendants()
    except AlgoPerfError as error:
        print(f"algoperf: error: {error}", file=sys.stderr)
        return exit_status.WRONG_INPUT
    if ending.outcome is Outcome.PREEMPTED:
        return exit_status.PREEMPTED
    return exit_status.FAILED if ending.is_failure else exit_status.OK


def _process(number: int) -> psutil.Process:
    """The process of that id; where it has ended, one that will be found to have ended."""
    try:
        return psutil.Process(number)
    except psutil.NoSuchProcess:
        sys.exit(exit_status.FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
