"""Makes the parts of a trial from its plan: functions that return values, in the order of use."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from algoperf import backend as backends
from algoperf import registry
from algoperf.about import read_about
from algoperf.backend import Backend
from algoperf.definition import WorkloadDefinition
from algoperf.errors import BadSettings
from algoperf.frameworks import check_framework
from algoperf.loading.places import Places
from algoperf.logs import TrialLog
from algoperf.pipeline import DataRequest, InputQueue
from algoperf.plugins import WorkloadModules
from algoperf.prepared import PreparedData
from algoperf.rulesets import TARGET_SETTING_FACTOR
from algoperf.runner import machine
from algoperf.runner.checkpoints import files as checkpoint_files
from algoperf.runner.clock import Clock
from algoperf.runner.evaluation import Evaluator
from algoperf.runner.fairness.audit_hook import AuditHook
from algoperf.runner.fairness.guards import Guards
from algoperf.runner.fairness.stray_workers import StrayWorkers
from algoperf.runner.fairness.untimed import OffClockSampler, WorkersTime
from algoperf.runner.observers import EvaluationLines, Observer, Observers
from algoperf.runner.plan import TrialPlan
from algoperf.runner.randomness import ProcessRandomness, seed_for
from algoperf.runner.settings import Settings
from algoperf.runner.supervision.watchdog import Heartbeat
from algoperf.submission import Submission, load
from algoperf.trial_meta import Devices, TrialMeta, utc_now
from algoperf.workload import Workload


def load_backend(settings: Settings) -> Backend:
    """The backend that a run's settings ask for, with all that it does once already done."""
    # Where the user's torchrun started this process, the harness could not set them before.
    for name, value in settings.environment.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"precision": settings.precision}
    if check_framework(settings.framework).can_compile:
        options["compile"] = settings.torch_compile
    backend = backends.load(settings.framework, **options)
    backend.warm_up()
    return backend


@dataclass(frozen=True)
class Site:
    """A workload bound to a backend, with what evaluates it and feeds it."""

    workload: Workload
    evaluator: Evaluator
    modules: WorkloadModules


def bind_workload(plan: TrialPlan, backend: Backend, heartbeat: Heartbeat) -> Site:
    """The plan's workload on this backend."""
    settings = plan.settings
    definition = _with_counts(settings)
    modules = registry.workload_modules(definition, backend.name)
    workload = Workload(
        definition,
        backend,
        modules.model,
        modules.metrics,
        ruleset=settings.rules,
        tuning=settings.tuning,
        limits_factor=TARGET_SETTING_FACTOR if settings.target_setting else 1.0,
    )
    evaluator = Evaluator(
        workload,
        backend,
        modules.data,
        modules.metrics,
        data_folder=settings.data_folder,
        seed=seed_for(plan.seed, "evaluation"),
        on_batch=heartbeat.beat,
    )
    return Site(workload, evaluator, modules)


def _with_counts(settings: Settings) -> WorkloadDefinition:
    """The definition; with the split sizes of a partial copy where that is accepted."""
    definition = settings.definition
    if not settings.allow_partial_data or not definition.needs_data:
        return definition
    data = PreparedData.open(
        settings.data_folder, dataset=definition.dataset, allow_partial=True
    )
    return replace(definition, splits=data.splits_like(definition.splits))


@dataclass(frozen=True)
class Watched:
    """How things were before any code of the submission ran, to compare with later."""

    stray_workers: StrayWorkers
    guards: Guards
    audit_hook: AuditHook
    sampler: OffClockSampler
    workers: WorkersTime

    def breaches(self) -> list[str]:
        """Of the rules, so far; one sentence each."""
        return self.guards.find() + self.noticed()

    def noticed(self) -> list[str]:
        """Breaches that were noticed when they happened, also after the last evaluation."""
        return self.audit_hook.found + self.sampler.found + self.workers.found


def watch_for_cheats(
    plan: TrialPlan, site: Site, backend: Backend, clock: Clock
) -> Watched:
    """Takes down how things are; called before the submission is loaded."""
    settings, workload = plan.settings, site.workload
    guards = Guards(
        modules=site.modules.as_modules(),
        objects={
            "workload": workload,
            "model": workload._model,
            "backend": backend,
            "evaluator": site.evaluator,
        },
        value=workload.definition,
        settings=backend.process_settings,
    )
    datasets = registry.wing_folder("datasets") / workload.definition.dataset
    audit_hook = AuditHook(
        lambda: clock.is_submission,
        data=(settings.data_folder, datasets),
        logs=(settings.experiment_dir / settings.experiment_name,),
        submission=settings.submission_path.parent,
    )
    stray_workers = StrayWorkers()
    places = Places.of(settings.submission_path)
    compiles = (
        check_framework(settings.framework).can_compile and settings.torch_compile
    )
    workers = WorkersTime(
        tuple
        if compiles
        else lambda: stray_workers.waiting  # our model is compiled too
    )
    sampler = OffClockSampler(places.own)
    return Watched(stray_workers, guards, audit_hook, sampler, workers)


@dataclass(frozen=True)
class LoadedSubmission:
    """A submission and the batch size that it asks for."""

    functions: Submission
    batch_size: int  # global
    batch_size_source: str


def load_submission(
    plan: TrialPlan, definition: WorkloadDefinition, backend: Backend
) -> LoadedSubmission:
    """Imports the submission's file and asks for its batch size; on its clock."""
    ProcessRandomness(backend).seed(plan.seed)
    functions = load(plan.settings.submission_path)
    batch_size, source = functions.batch_size(definition)
    if batch_size % backend.num_devices:
        multiple = backend.num_devices * max(1, batch_size // backend.num_devices)
        raise BadSettings(
            f"The batch size {batch_size} cannot be divided by the {backend.num_devices} "
            f"devices. Return a multiple from get_batch_size, such as {multiple}."
        )
    return LoadedSubmission(functions, batch_size, source)


@dataclass(frozen=True)
class EpochSteps:
    """How many steps a run by epochs takes; None where runs are not by epochs."""

    steps_of_each: int | None = None
    num_steps: int | None = None


def epochs_of(definition: WorkloadDefinition, batch_size: int) -> EpochSteps:
    """The steps of a workload that is trained for a number of epochs."""
    if definition.epochs is None:
        return EpochSteps()
    steps = definition.splits.train // batch_size
    if not steps:
        raise BadSettings(
            f"The batch size {batch_size} is larger than the {definition.splits.train} "
            f"training examples of {definition.name}, which is trained by epochs of full "
            "batches. Return a smaller one from get_batch_size."
        )
    return EpochSteps(steps, steps * definition.epochs.number)


def last_step(settings: Settings, epochs: EpochSteps) -> int | None:
    """After which step a run ends: the one that is asked for, or its last epoch's."""
    limits = (settings.max_global_steps, epochs.num_steps)
    return min((limit for limit in limits if limit is not None), default=None)


def open_queue(
    plan: TrialPlan, site: Site, backend: Backend, batch_size: int, position: int
) -> InputQueue:
    """The endless training batches from a position on."""
    definition = site.workload.definition
    request = DataRequest(
        folder=plan.settings.data_folder,
        split="train",
        splits=definition.splits,
        batch_size=batch_size,
        seed=seed_for(plan.seed, "data"),
        config=definition.data,
        shard=backend.rank,
        num_shards=backend.num_processes,
        drop_last=definition.drop_last_batch,
    )
    return InputQueue(
        site.modules.data.open_batches(request), backend.place, start=position
    )


def identity_of(
    plan: TrialPlan, loaded: LoadedSubmission, backend: Backend
) -> dict[str, Any]:
    """What a checkpoint must share with this run to be continued."""
    settings = plan.settings
    return {
        "workload": settings.workload,
        "framework": settings.framework,
        "ruleset": settings.ruleset,
        "tuning ruleset": settings.tuning,
        "precision": settings.precision,
        "seed": plan.seed,
        "hyperparameters": plan.point,
        "batch size": loaded.batch_size,
        "number of processes": backend.num_processes,
        "submission code": machine.code_digest(settings.submission_path),
        "benchmark code": machine.commit(),
    }


def latest_checkpoint(
    folder: Path, identity: Mapping[str, Any]
) -> checkpoint_files.Checkpoint | None:
    """The newest undamaged checkpoint of a trial's folder, if there is one."""
    return checkpoint_files.load_latest(
        folder / checkpoint_files.FOLDER,
        identity,
        warn=lambda text: print(f"algoperf: {text}", file=sys.stderr),
    )


def describe(
    plan: TrialPlan, site: Site, loaded: LoadedSubmission, backend: Backend
) -> TrialMeta:
    """The trial's meta data: rules, targets, budgets, hardware, versions, code."""
    settings, workload = plan.settings, site.workload
    definition = workload.definition
    return TrialMeta(
        workload=workload.name,
        base_workload=definition.base_name,
        tier=definition.tier,
        framework=settings.framework,
        ruleset=settings.ruleset,
        tuning_ruleset=settings.tuning,
        target=definition.target,
        budget_seconds=workload.max_allowed_runtime_sec,
        step_hint=workload.step_hint,
        batch_size=loaded.batch_size,
        batch_size_source=loaded.batch_size_source,
        precision=settings.precision,
        partial_data=definition.splits != settings.definition.splits,
        target_setting=settings.target_setting,
        eval_period_steps=settings.eval_period_steps,
        seed=plan.seed,
        study=plan.study,
        trial=plan.trial,
        num_processes=backend.num_processes,
        torch_inductor_cache=os.environ.get("TORCHINDUCTOR_CACHE_DIR"),
        began=utc_now(),
        devices=Devices.from_json(backend.describe_devices()),
        host=machine.host(),
        versions=machine.versions(),
        commit=machine.commit(),
        about=read_about(settings.submission_path.parent).to_json() or None,
    )


def open_log(plan: TrialPlan, meta: TrialMeta, saved_step: int) -> TrialLog:
    """The trial's log; rows after `saved_step` are dropped, because those steps are run again."""
    preemptions = len(list(plan.folder.glob("meta_data_*.json")))
    log = TrialLog(plan.folder, preemptions=preemptions, keep_steps=saved_step)
    log.start(meta, plan.settings.as_json(), plan.point)
    return log


def observers_of(
    plan: TrialPlan, workload: Workload, reporter: Observer | None = None
) -> Observers:
    """`reporter` tells the launcher, which tells people; without one they are told from here."""
    if reporter is not None:
        return Observers(reporter)
    label = f"{workload.name} study {plan.study} trial {plan.trial}"
    target, budget = workload.definition.target, workload.max_allowed_runtime_sec
    return Observers(EvaluationLines(label, target, budget))
