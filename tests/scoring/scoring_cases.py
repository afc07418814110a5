"""Trials and targets made up in a line, and the published logs in a thinned form."""

import functools
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algoperf import logs
from algoperf.definition import Target
from algoperf.logs import Outcome, OutcomeRecord, Trial, TrialId
from algoperf.scoring.leaderboard import Leaderboard, score
from algoperf.scoring.targets import ScoredWorkload, TargetSet
from algoperf.trial_meta import TrialMeta

FIXTURES = Path(__file__).parent / "fixtures"
PUBLISHED_TARGETS = FIXTURES / "targets_v05.json"

# By the rules, and as the published scorer computes: the organisers' leaderboard of 2024.
EXACT = {
    "schedule_free_adamw": 0.8539,
    "baseline": 0.8201,
    "nadamw_sequential": 0.3307,
    "sinv6_75": 0.1423,
    "sinv6": 0.0905,
    "adamg": 0.0,
}
COMPAT = {
    "schedule_free_adamw": 0.8542,
    "baseline": 0.8194,
    "nadamw_sequential": 0.3308,
    "sinv6_75": 0.1420,
    "sinv6": 0.0903,
    "adamg": 0.0,
}


V10_EXACT = {
    "schedule_free_adamw_v2": 0.5742,
    "nadamw_baselinev05": 0.4597,
    "schedule_free_adamw_jax_v2": 0.4497,
    "muon_torch": 0.4304,
    "muon": 0.2967,
    "lion": 0.2899,
}
V10_COMPAT = {
    "schedule_free_adamw_v2": 0.5746,
    "nadamw_baselinev05": 0.4607,
    "schedule_free_adamw_jax_v2": 0.4501,
    "muon_torch": 0.4299,
    "muon": 0.2974,
    "lion": 0.2896,
}


def unpack_published(
    folder: Path,
    version: str = "v05",
    *,
    submissions: Sequence[str] = (),
    workloads: Sequence[str] = (),
) -> Path:
    """Unpacks the thinned published logs, with meta data and flags as published.

    submissions, workloads: those that are wanted; empty: all.
    """
    with tarfile.open(FIXTURES / f"published_{version}.tar.xz") as archive:
        members = [
            member
            for member in archive
            if (not submissions or member.name.split("/")[0] in submissions)
            and (
                not workloads
                or member.name.split("/")[2].rpartition("_")[0] in workloads
            )
        ]
        archive.extractall(folder, members, filter="data")
    return folder


@functools.cache
def published_trials() -> list[Trial]:
    """The thinned published logs, read once."""
    with tempfile.TemporaryDirectory() as folder:
        return logs.read(unpack_published(Path(folder)))


@functools.cache
def published_v10_trials() -> list[Trial]:
    """Those of version 1.0."""
    with tempfile.TemporaryDirectory() as folder:
        return logs.read(unpack_published(Path(folder), "v10"))


@functools.cache
def published_board() -> Leaderboard:
    """Their leaderboard by the rules of v0.5."""
    trials = published_trials()
    return score(trials, "v0.5", targets=PUBLISHED_TARGETS, reference="baseline")


def trial(
    submission: str,
    workload: str,
    rows: Sequence[tuple[float, float]],
    *,
    study: int = 1,
    number: int = 1,
    test: Sequence[float] | None = None,
    steps: Sequence[float] | None = None,
    framework: str = "jax",
    outcome: Outcome | None = None,
    meta: Mapping[str, Any] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
) -> Trial:
    """A trial with (seconds, validation accuracy) rows; a step takes a second."""
    seconds = np.array([row[0] for row in rows], float)
    columns = {
        "global_step": seconds if steps is None else np.array(steps, float),
        "accumulated_submission_time": seconds,
        "validation/accuracy": np.array([row[1] for row in rows], float),
    }
    if test is not None:
        columns["test/accuracy"] = np.array(test, float)
    identity = TrialId(submission, study, workload, framework, number)
    folder = identity.folder(Path("/logs"))
    return Trial(
        identity,
        folder,
        columns,
        hyperparameters,
        TrialMeta.from_json(meta or {}, f"{folder}/meta_data_0.json"),
        None if outcome is None else OutcomeRecord(outcome),
    )


def hit_at(submission: str, workload: str, seconds: float, **more: Any) -> Trial:
    """A trial that reaches the target of `targets` at `seconds` (infinity: never)."""
    if np.isinf(seconds):
        return trial(submission, workload, [(1.0, 0.1), (100.0, 0.2)], **more)
    return trial(submission, workload, [(0.5, 0.1), (seconds, 0.9)], **more)


def targets(
    *names: str,
    held_out: Sequence[str] = (),
    budget: float = 1000.0,
    tier: Any = "full",
) -> TargetSet:
    """Accuracy above 0.5 on validation and test, for base and held-out workloads."""
    target = Target("accuracy", 0.5, 0.5)
    workloads = {
        name: ScoredWorkload(
            name,
            max((b for b in names if name.startswith(b)), key=len),
            target,
            budget,
            tier,
        )
        for name in (*names, *held_out)
    }
    return TargetSet(workloads, tuple(names), tuple(held_out))
