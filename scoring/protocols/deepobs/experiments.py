"""Our own folders of experiments, as runs of the protocol."""

import datetime
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from algoperf import registry
from algoperf.definition import WorkloadDefinition
from algoperf.errors import UnknownName
from algoperf.logs import Outcome, Trial

from .runs import CURVES, Run, Scan, with_divergence

_QUANTITIES = {
    "test_losses": "loss",
    "train_losses": "loss",
    "test_accuracies": "accuracy",
    "train_accuracies": "accuracy",
}
_OPTIONAL = {
    "valid_losses": "validation/loss",
    "valid_accuracies": "validation/accuracy",
}


FIRST_SEED = 42  # as published: 42 tunes, 42 to 51 repeat


def runs_of(trials: Iterable[Trial], *, first_seed: int = 1) -> Scan:
    """The runs that trials are; which of them are none, and why, is in `left_out`.

    A run's seed is the number of its study; first_seed: what the first study counts as.
    """
    scan = Scan()
    for trial in trials:
        place = f"{trial.id.submission}, {trial.id.workload}, study {trial.id.study}, trial "
        problem = _why_not(trial)
        if problem:
            scan.left_out.append(f"{place}{trial.id.trial} {problem}")
        else:
            run = _run(trial)
            seed = run.seed + first_seed - 1
            scan.runs.append(replace(run, seed=seed))
    return scan


def _definition(name: str) -> WorkloadDefinition | None:
    try:
        return registry.definition(name)
    except UnknownName:
        return None


def _why_not(trial: Trial) -> str:
    """Empty for a run that counts."""
    definition = _definition(trial.id.workload)
    if definition is None or definition.epochs is None:
        return "is not of a problem that is trained by epochs"
    if trial.is_unfinished:
        return "has not ended"
    if not trial.counts:
        return f"counts for nothing: {trial.reason}"
    expected = definition.epochs.number + 1
    has_diverged = trial.outcome is Outcome.DIVERGED
    found = trial.num_evaluations
    if found == 0 or found > expected or (found < expected and not has_diverged):
        return f"has {found} evaluations; {definition.epochs.number} epochs have {expected}"
    columns = _columns(definition).values()
    missing = [column for column in columns if column not in trial.columns]
    return f"has no column {missing[0]}" if missing else ""


def _columns(definition: WorkloadDefinition) -> dict[str, str]:
    """The column of the logs that each curve is in."""
    has_accuracy = definition.target.metric == "accuracy"
    # Of ImageNet the original's test split is what everybody calls validation.
    is_tested = "test" in definition.evaluated_splits
    test = "test" if is_tested else "validation"
    return {
        name: f"{'train' if name.startswith('train') else test}/{_QUANTITIES[name]}"
        for name in (CURVES if has_accuracy else CURVES[:2])
    }


def _optional(trial: Trial) -> dict[str, str]:
    """The columns of the validation split, where a trial has them beside those of the test."""
    is_tested = any(column.startswith("test/") for column in trial.columns)
    return {
        name: column
        for name, column in _OPTIONAL.items()
        if is_tested and column in trial.columns
    }


def _run(trial: Trial) -> Run:
    definition = registry.definition(trial.id.workload)
    assert definition.epochs is not None
    num_missing = definition.epochs.number + 1 - trial.num_evaluations
    # What a run that diverged did not reach is not finite, which the rule replaces.
    curves = {
        name: np.pad(
            trial.metric(column).astype(float),
            (0, num_missing),
            constant_values=np.nan,
        )
        for name, column in (_columns(definition) | _optional(trial)).items()
    }
    return with_divergence(
        Run(
            trial.id.workload,
            trial.id.submission,
            dict(trial.hyperparameters or {}),
            trial.id.study,
            trial.meta.batch_size or definition.default_batch_size,
            curves,
            ended=_time(trial),
        )
    )


def _time(trial: Trial) -> str:
    """When it ended, as names of published files have it; empty if that is not recorded."""
    text = trial.ended.ended if trial.ended else None
    try:
        return datetime.datetime.fromisoformat(text or "").strftime("%Y-%m-%d-%H-%M-%S")
    except ValueError:
        return ""
