"""Runs of the suite as values: how many steps each took to the target, or that it missed it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from algoperf import registry
from algoperf.definition import Target
from algoperf.errors import BadLogs
from algoperf.logs import STEP, SUBMISSION_SECONDS, Outcome, Trial
from algoperf.suite import design

# Says nothing about the submission: such a trial counts as not run.
_NOT_RUN = (None, Outcome.INFRASTRUCTURE_CRASHED, Outcome.PREEMPTED)


@dataclass(frozen=True)
class Run:
    """One run of a workload: with a fixed point its trial, else its study's best trial."""

    steps: float  # at the first evaluation that beats the target; infinite: missed
    last_step: int  # up to which the target could be reached: the step hint
    seed: int  # what initial weights and data order came from
    seconds: float = math.nan  # submission time to the target; NaN: not comparable
    curve: tuple[tuple[int, float], ...] = ()  # step, validation metric
    ended: str = ""  # UTC, ISO 8601
    machine: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_hit(self) -> bool:
        """Whether the target was reached."""
        return math.isfinite(self.steps)


@dataclass(frozen=True)
class Results:
    """All runs of a submission: by workload, then by seed's number from 1."""

    name: str
    framework: str
    runs: Mapping[str, Mapping[int, Run]]
    fingerprints: Mapping[str, str]  # of the workloads that were run
    is_measured_here: bool = False  # its seconds compare with others that are, too
    point: Mapping[str, Any] = field(default_factory=dict)

    def num_seeds(self, workload: str) -> int:
        """How often a workload was run."""
        return len(self.runs.get(workload, {}))

    def has(self, workload: str) -> bool:
        """Whether it ran on a workload, in the form that is defined today."""
        today = design.fingerprint(registry.definition(workload))
        return self.num_seeds(workload) > 0 and self.fingerprints.get(workload) == today

    def misses(self, workloads: Iterable[str]) -> int:
        """Runs on these workloads that missed the target."""
        return sum(
            not run.is_hit for name in workloads for run in self.runs[name].values()
        )


def from_trials(trials: Sequence[Trial], *, is_measured_here: bool) -> list[Results]:
    """What the logs of a campaign of runs by steps say, one value for each submission."""
    studies: dict[tuple[str, str], dict[tuple[str, int], list[Trial]]] = {}
    for trial in trials:
        if trial.outcome in _NOT_RUN:
            continue
        _check(trial)
        key = (trial.id.submission, trial.id.framework)
        study = (trial.id.workload, trial.id.study)
        studies.setdefault(key, {}).setdefault(study, []).append(trial)
    return [
        _results(*key, found, is_measured_here=is_measured_here)
        for key, found in studies.items()
    ]


def _check(trial: Trial) -> None:
    if trial.flags and trial.flags.get("by_steps") is not True:
        raise BadLogs(
            f"{trial.folder} was not run by steps, so it evaluated at other steps and ended "
            "by other rules than runs of the suite. Run the submission with `algoperf suite`."
        )


def _results(
    name: str,
    framework: str,
    studies: Mapping[tuple[str, int], list[Trial]],
    *,
    is_measured_here: bool,
) -> Results:
    runs: dict[str, dict[int, Run]] = {}
    for (workload, study), trials in sorted(studies.items()):
        best = min((_run(trial) for trial in trials), key=lambda run: run.steps)
        runs.setdefault(workload, {})[study] = best
    first = next(iter(studies.values()))[0]
    return Results(
        name,
        framework,
        runs,
        {name: design.fingerprint(registry.definition(name)) for name in runs},
        is_measured_here,
        dict(first.hyperparameters or {}),
    )


def _run(trial: Trial) -> Run:
    # A submission that crashed at once has recorded nothing.
    definition = registry.definition(trial.id.workload)
    target = trial.meta.target or definition.target
    hint = trial.meta.step_hint or definition.limits_of(design.rules()).step_hint
    curve = _curve(trial, target)
    hits = [
        i for i, (_, v) in enumerate(curve) if target.is_better(v, target.validation)
    ]
    is_hit = bool(hits) and trial.counts
    seconds = trial.columns[SUBMISSION_SECONDS] if curve else np.array([])
    return Run(
        steps=float(curve[hits[0]][0]) if is_hit else math.inf,
        last_step=hint,
        seed=trial.meta.seed or 0,
        seconds=float(seconds[hits[0]]) if is_hit else math.nan,
        curve=curve,
        ended=(trial.ended.ended if trial.ended else None) or "",
        machine=_machine(trial),
    )


def _curve(trial: Trial, target: Target) -> tuple[tuple[int, float], ...]:
    if not trial.num_evaluations:
        return ()
    values = trial.metric(f"validation/{target.metric}")
    steps = trial.columns[STEP]
    return tuple((int(s), float(v)) for s, v in zip(steps, values, strict=True))


def _machine(trial: Trial) -> dict[str, Any]:
    """Hardware, versions and commit, as recorded."""
    meta = trial.meta
    content: dict[str, Any] = {"commit": meta.commit}
    if meta.host is not None:
        content |= {"cpu": meta.host.cpu, "cores": meta.host.cores}
    if meta.devices is not None:
        content["devices"] = f"{meta.devices.num_devices} x {meta.devices.device_kind}"
    versions = {
        **(meta.versions or {}),
        **(meta.devices.versions if meta.devices else {}),
    }
    content["versions"] = {key: str(value) for key, value in sorted(versions.items())}
    return content
