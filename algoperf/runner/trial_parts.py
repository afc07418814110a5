"""What a trial is put together from, and what changes while it runs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from algoperf.backend import Backend
from algoperf.logs import TrialLog
from algoperf.pipeline import InputQueue
from algoperf.rulesets import Ruleset
from algoperf.runner.checkpoints.background import BackgroundWriter
from algoperf.runner.checkpoints.schedule import Schedule
from algoperf.runner.clock import Clock
from algoperf.runner.fairness.stray_workers import StrayWorkers
from algoperf.runner.observers import Observers
from algoperf.runner.step_hooks import StepHook
from algoperf.runner.supervision.preemption import StopRequest
from algoperf.runner.supervision.watchdog import Heartbeat
from algoperf.submission import Submission
from algoperf.workload import Workload


@dataclass
class Costs:
    """What a submission has been charged so far, by which a resumed trial is judged."""

    until_first_evaluation: float = 0.0  # seconds: loading, initialising, compiling
    step: float = 0.0  # seconds of a typical step; 0: not known yet
    prepare_for_eval: float = 0.0  # seconds of the last one


@dataclass
class TrialState:
    """What changes during a trial."""

    params: Any = None
    model_state: Any = None
    optimizer_state: Any = None
    global_step: int = 0
    eval_results: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    validation_reached: bool = False
    test_reached: bool = False
    training_complete: bool = False
    # Submission seconds at the end of the last evaluation.
    evaluated_at: float = -math.inf
    costs: Costs = field(default_factory=Costs)


@dataclass(frozen=True)
class TrialParts:
    """What a trial is put together from; the trial itself builds nothing."""

    workload: Workload
    backend: Backend
    submission: Submission
    rules: Ruleset
    hyperparameters: Any
    evaluate: Callable[[Any, Any], Mapping[str, float]]
    open_queue: Callable[[int], InputQueue]  # at a position
    clock: Clock
    log: TrialLog | None  # None on all processes but the first
    observers: Observers
    stray_workers: StrayWorkers
    seed: int
    identity: Mapping[str, Any]  # what a checkpoint must share with this run
    max_global_steps: int | None = None
    save_checkpoints: bool = True
    checkpoint_schedule: Schedule = field(default_factory=Schedule)
    checkpoint_writer: BackgroundWriter = field(default_factory=BackgroundWriter)
    keep_evidence: bool = False  # parameters of the first evaluations at the targets
    stop_at_targets: bool = True
    eval_period_steps: int | None = None  # instead of the workload's seconds
    # Evaluates before training and after every epoch, instead of by time.
    steps_per_epoch: int | None = None
    find_breaches: Callable[[], list[str]] = list  # of rules, besides `stray_workers`
    memory: Callable[[], Mapping[str, float]] = dict  # in use, for the logs
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    stop: StopRequest = field(default_factory=StopRequest)
    step_hook: StepHook | None = None  # looks at training steps
