"""Makes the instruments of a trial from its settings."""

from pathlib import Path
from typing import Any

from algoperf.backend import Backend
from algoperf.instrument_logs import InstrumentLog
from algoperf.instruments import configurations, curvature, schedules
from algoperf.instruments.measuring import Options
from algoperf.instruments.recorder import Plan, Recorder
from algoperf.probe import Objective, Probe
from algoperf.runner.outcomes import attribute_errors_to
from algoperf.runner.settings import Settings
from algoperf.workload import Workload


def plan_of(settings: Settings) -> Plan | None:
    """Which instruments are asked for; None without any. BadSettings for a misspelt one."""
    if settings.cockpit is None:
        return None
    curvature.check_proxy(settings.cockpit_curvature)
    adapt_bins = settings.cockpit_adapt_bins
    return Plan(
        configurations.quantities(settings.cockpit),
        schedules.parse(settings.cockpit_every),
        adapt_bins=None if adapt_bins is None else schedules.parse(adapt_bins),
    )


def recorder_of(
    settings: Settings,
    workload: Workload,
    backend: Backend,
    hyperparameters: Any,
    *,
    seed: int,
    folder: Path,
    first_step: int,
) -> Recorder | None:
    """The instruments of a trial, with their file; None where none are asked for."""
    plan = plan_of(settings)
    if plan is None:
        return None
    objective = objective_of(workload, hyperparameters)
    probe = backend.probe(objective)
    coupled = settings.cockpit_batch_norm
    options = Options(
        proxy=settings.cockpit_curvature,
        coupled="coupled" if coupled == "coupled" else "refuse",
        seed=seed,
    )
    log = None
    if backend.rank == 0:
        header = describe(settings, plan, objective, probe, backend)
        log = InstrumentLog(folder, header, first_step)

    def check(step: int, params: Any) -> None:
        """What an evaluation would say of parameters that are not the model's."""
        path = settings.submission_path
        with attribute_errors_to("update_params", step, path, lambda error: False):
            workload.check_params(params)

    return Recorder(probe, plan, options, log=log, check=check)


def objective_of(workload: Workload, hyperparameters: Any) -> Objective:
    """The training loss, with what a point of the search space says of it."""
    rate = getattr(hyperparameters, "dropout_rate", None)
    smoothing = getattr(hyperparameters, "label_smoothing", None)
    return Objective(
        workload,
        dropout_rate=None if rate is None else float(rate),
        label_smoothing=0.0 if smoothing is None else float(smoothing),
    )


def describe(
    settings: Settings,
    plan: Plan,
    objective: Objective,
    probe: Probe,
    backend: Backend,
) -> dict[str, Any]:
    """What a reader of the values must know."""
    shapes = {
        name: list(shape.shape_tuple)
        for name, shape in zip(
            probe.names, _leaves(objective.workload.param_shapes), strict=True
        )
    }
    dropout = "the training step's key" if objective.uses_dropout else "none"
    return {
        "format": 1,
        "configuration": settings.cockpit,
        "quantities": list(plan.names),
        "schedule": str(plan.schedule),
        "adapt_bins": "never" if plan.adapt_bins is None else str(plan.adapt_bins),
        "curvature": settings.cockpit_curvature,
        "batch_norm": f"coupled losses; gradients of single examples: "
        f"{settings.cockpit_batch_norm}",
        "dropout": dropout,
        "dropout_rate": objective.dropout_rate,
        "label_smoothing": objective.label_smoothing,
        "weight_decay": "in no gradient, as the optimizer adds it",
        "weights": "those that the submission holds when the step begins",
        "precision": settings.precision,
        "devices": backend.describe_devices(),
        "parameters": shapes,
    }


def _leaves(tree: Any) -> list[Any]:
    if hasattr(tree, "shape_tuple"):
        return [tree]
    return [leaf for part in tree.values() for leaf in _leaves(part)]
