"""Puts one trial together and runs it; as a program, in a process of its own.

`python -m algoperf.runner.trial_process PLAN.json` exits with 0 when the trial ended regularly,
1 when it failed (the logs say how), 2 when what was given is wrong.
"""

import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from algoperf import backend as backends
from algoperf import registry, spec
from algoperf.backend import Backend
from algoperf.definition import WorkloadDefinition
from algoperf.errors import AlgoPerfError, BadSettings
from algoperf.logs import TrialId, TrialLog
from algoperf.pipeline import DataRequest, InputQueue
from algoperf.prepared import PreparedData
from algoperf.rulesets import TARGET_SETTING_FACTOR
from algoperf.runner import checkpoint, machine
from algoperf.runner.clock import Clock
from algoperf.runner.evaluation import Evaluator
from algoperf.runner.intruders import Intruders
from algoperf.runner.observers import Observer, Observers, ProgressLine, TensorBoard
from algoperf.runner.outcomes import TRACEBACK_FILE, Ending, SubmissionError, ending_of
from algoperf.runner.randomness import seed_for
from algoperf.runner.settings import Settings, TrialPlan
from algoperf.runner.trial import Trial, TrialParts
from algoperf.runner.tuning import as_hyperparameters
from algoperf.submission import Submission, load
from algoperf.workload import Workload

EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2


def trial_id(plan: TrialPlan) -> TrialId:
    """The identity of a planned trial in the logs."""
    s = plan.settings
    return TrialId(s.experiment_name, plan.study, s.workload, s.framework, plan.trial)


def trial_folder(plan: TrialPlan) -> Path:
    """Where a planned trial logs."""
    return trial_id(plan).folder(plan.settings.experiment_dir)


def load_backend(settings: Settings) -> Backend:
    """The backend that a run's settings ask for."""
    for name, value in settings.definition.environment.get(
        settings.framework, {}
    ).items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"precision": settings.precision}
    if settings.framework == "pytorch":
        options["compile"] = settings.torch_compile
    return backends.load(settings.framework, **options)


def run_trial(
    plan: TrialPlan, backend: Backend, *, started: float | None = None
) -> Ending:
    """Runs a trial to its end and logs it; raises only what is wrong with the input.

    `started`: when the process began, on the clock of `time.perf_counter`.
    """
    folder = trial_folder(plan)
    intruders = Intruders()  # before any code of the submission has run
    submission = load(plan.settings.submission_path)
    setup = _Setup(plan, backend, submission)
    saved = _latest_checkpoint(folder, setup.identity)
    clock = Clock(earlier=saved.rest["seconds"] if saved else None, started=started)
    log = _open_log(plan, setup, saved) if backend.rank == 0 else None
    with intruders.harness():
        observers = _observers(plan, setup.workload) if log else Observers()
    setup.workload.metrics_logger = log
    if log is not None:
        for warning in backend.describe_devices().get("warnings", ()):
            observers.warn(warning)
    trial = Trial(setup.parts(clock, log, observers, intruders))
    try:
        ending = trial.run(saved)
    except Exception as error:
        ending = ending_of(error)
        _keep_traceback(folder, error)
    finally:
        observers.close()
    if log is not None:
        log.finish(ending.outcome, ending.reason, clock.accounting())
    return ending


class _Setup:
    """Builds the parts of a trial from its plan."""

    def __init__(
        self, plan: TrialPlan, backend: Backend, submission: Submission
    ) -> None:
        settings, definition = plan.settings, _with_counts(plan.settings)
        self._plan = plan
        self._backend = backend
        self._submission = submission
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
        self.batch_size, self.batch_size_source = submission.batch_size(definition)
        _check_divisible(self.batch_size, backend)

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
            "number of processes": self._backend.num_processes,
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
            shard=self._backend.rank,
            num_shards=self._backend.num_processes,
        )
        return InputQueue(
            self._data.open_batches(request), self._backend.place, start=position
        )

    def parts(
        self,
        clock: Clock,
        log: TrialLog | None,
        observers: Observers,
        intruders: Intruders,
    ) -> TrialParts:
        """Everything that the trial is made of."""
        plan, settings = self._plan, self._plan.settings
        evaluator = Evaluator(
            self.workload,
            self._backend,
            self._data,
            self._metrics,
            data_folder=settings.data_folder,
            seed=seed_for(plan.seed, "evaluation"),
        )
        return TrialParts(
            workload=self.workload,
            backend=self._backend,
            submission=self._submission,
            rules=settings.rules,
            hyperparameters=None
            if plan.point is None
            else as_hyperparameters(plan.point),
            evaluate=evaluator.evaluate,
            open_queue=self.open_queue,
            clock=clock,
            log=log,
            observers=observers,
            intruders=intruders,
            seed=plan.seed,
            identity=self.identity,
            max_global_steps=self._step_limit(),
            save_checkpoints=settings.save_checkpoints,
            stop_at_targets=not settings.target_setting,
        )

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
            "seed": plan.seed,
            "study": plan.study,
            "trial": plan.trial,
            "num_processes": self._backend.num_processes,
            "devices": self._backend.describe_devices(),
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
    """Runs the plan in the file that is named by the only argument."""
    plan = TrialPlan.loads(Path(arguments[0]).read_text())
    try:
        backend = load_backend(plan.settings)
        try:
            ending = run_trial(plan, backend, started=_process_started())
        finally:
            backend.close()
    except AlgoPerfError as error:
        print(f"algoperf: error: {error}", file=sys.stderr)
        return EXIT_WRONG_INPUT
    except spec.TrainingCompleteError:
        print(
            "algoperf: error: TrainingCompleteError outside update_params",
            file=sys.stderr,
        )
        return EXIT_FAILED
    return EXIT_FAILED if ending.is_failure else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
