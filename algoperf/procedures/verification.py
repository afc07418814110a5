"""Confirms what a trial claims, without its submission: evaluates the kept parameters again.

A clean process that never loads the submission takes the parameters that were saved at an
evaluation, evaluates them with the benchmark's own code and compares every metric. Hyperparameter
point and seed are drawn again, rows compared with the checkpoint's history and with the launcher's
stamps, the submission's code with its digest, the data with their checksums.

`python -m algoperf.procedures.verification TRIAL_FOLDER RESULT [DATA_DIR]` is that process.
"""

import dataclasses
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from algoperf import logs
from algoperf.errors import AlgoPerfError, BadLogs, BadSettings
from algoperf.evaluations import STEP, EvaluationRow
from algoperf.files import read_regular
from algoperf.logs import Trial
from algoperf.prepared import PreparedData
from algoperf.runner import machine, setup
from algoperf.runner.checkpoints import evidence, files
from algoperf.runner.checkpoints.snapshot import Snapshot
from algoperf.runner.fairness import judgement
from algoperf.runner.fairness.stamps import STAMPS_FILE, read_stamps
from algoperf.runner.plan import TrialPlan, plan_trials
from algoperf.runner.settings import Settings
from algoperf.runner.supervision.watchdog import Heartbeat
from algoperf.trial_meta import Devices
from algoperf.verification_record import (
    EVALUATIONS,
    TIMES,
    VERIFICATION_FILE,
    Check,
    Status,
    Verification,
    digest_of,
)

# By how much a metric may differ on other devices than the trial's, relative to its size. On the
# same CPU it must be the same bits.
TOLERANCE = 2e-3
_MODULE = "algoperf.procedures.verification"
Say = Callable[[str], None]


def choose(
    trials: Sequence[Trial], *, pattern: str = "", sample: int = 1, seed: int = 0
) -> list[Trial]:
    """Trials that claim a target and a random sample of the others; or those that match.

    pattern: part of a trial's folder, such as `study_1/mnist_mini_jax`. BadSettings if none does.
    """
    own = [trial for trial in trials if trial.meta.is_own]
    if pattern:
        matching = [trial for trial in own if pattern in str(trial.folder)]
        if not matching:
            raise BadSettings(
                f"No trial's folder contains {pattern!r}. Give a part of one, such as "
                f"{trials[0].folder}."
            )
        return matching
    claiming = [trial for trial in own if trial.claims_target]
    others = [trial for trial in own if trial not in claiming and trial.num_evaluations]
    drawn = random.Random(seed).sample(others, min(sample, len(others)))
    return claiming + sorted(drawn, key=lambda trial: str(trial.folder))


def verify(trial: Trial, data_dir: Path | None = None) -> Verification:
    """Makes all comparisons for a trial and keeps the result in its folder."""
    checks = list(_checks(trial, data_dir))
    found = Verification(checks, digest_of(trial.evaluations_path))
    logs.write_json(trial.folder / VERIFICATION_FILE, found.to_json())
    return found


def _checks(trial: Trial, data_dir: Path | None) -> Iterator[Check]:
    try:
        plan = plan_of(trial, data_dir)
    except (AlgoPerfError, TypeError, KeyError) as error:
        yield Check(
            EVALUATIONS, Status.UNKNOWN, f"its settings cannot be read: {error}"
        )
        return
    yield _evaluations(trial, plan, data_dir)
    yield _times(trial)
    yield _history(trial)
    yield _draw(trial, plan)
    yield _code(trial, plan)
    yield _data(plan)


def plan_of(trial: Trial, data_dir: Path | None = None) -> TrialPlan:
    """What the trial was told to do; the seed is drawn anew."""
    from algoperf.runner.randomness import trial_seed

    settings = Settings.from_json(dict(trial.flags))
    settings = dataclasses.replace(
        settings, num_processes=1, data_dir=data_dir or settings.data_dir
    )
    number, study = trial.id.trial, trial.id.study
    seed = trial_seed(settings.seed, settings.workload, study, number)
    point = dict(trial.hyperparameters or {}) or None
    return TrialPlan(settings, study, number, seed, point)


# Evaluations


def _evaluations(trial: Trial, plan: TrialPlan, data_dir: Path | None) -> Check:
    """Evaluates what was kept in a process of its own, and compares every metric."""
    if not _saved(trial.folder):
        return Check(EVALUATIONS, Status.UNKNOWN, "no parameters were kept")
    with tempfile.TemporaryDirectory(prefix="algoperf-verify-") as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-P", "-m", _MODULE, str(trial.folder), str(result)]
        command += [str(data_dir)] if data_dir else []
        variables = {**plan.settings.environment, **os.environ, "PYTHONSAFEPATH": "1"}
        done = subprocess.run(command, env=variables, capture_output=True, text=True)
        if not result.is_file():
            words = (done.stderr or done.stdout).strip().splitlines() or ["it ended"]
            return Check(EVALUATIONS, Status.UNKNOWN, words[-1])
        return _compared(trial, json.loads(result.read_text()))


def _compared(trial: Trial, result: Mapping[str, Any]) -> Check:
    is_same = _is_same_machine(trial, result)
    found, count = [], 0
    for text, metrics in result["metrics"].items():
        step = int(text)
        rows = trial.columns.get(STEP)
        places = [] if rows is None else [i for i, s in enumerate(rows) if s == step]
        if not places:
            found.append(f"the file has no evaluation at step {step}")
            continue
        for name, value in metrics.items():
            count += 1
            logged = float(trial.metric(name)[places[0]])
            if not _is_equal(value, logged, 0.0 if is_same else TOLERANCE):
                found.append(
                    f"{name} at step {step} is {logged!r} in the file and {value!r} "
                    f"when evaluated again (difference {abs(value - logged):.3g})"
                )
    if found:
        return Check(EVALUATIONS, Status.DIFFERS, judgement.said(found))
    how = "equal bits" if is_same else f"within {TOLERANCE:g}, on other devices"
    steps = ", ".join(result["metrics"])
    return Check(
        EVALUATIONS, Status.VERIFIED, f"{count} metrics at steps {steps}: {how}"
    )


def _is_equal(a: float, b: float, tolerance: float) -> bool:
    if math.isnan(a) or math.isnan(b):
        return math.isnan(a) and math.isnan(b)
    return a == b or math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance * 1e-3)


def _is_same_machine(trial: Trial, result: Mapping[str, Any]) -> bool:
    devices, host = trial.meta.devices, trial.meta.host
    here = dataclasses.replace(Devices.from_json(result["devices"]), warnings=())
    there = None if devices is None else dataclasses.replace(devices, warnings=())
    is_single = trial.meta.num_processes == 1
    return (
        there == here and host is not None and host.cpu == result["cpu"] and is_single
    )


def _saved(folder: Path) -> list[Path]:
    """Evidence; else the newest checkpoint."""
    newest = evidence.newest_checkpoint(folder)
    return evidence.kept(folder) or ([newest] if newest else [])


def evaluate_again(folder: Path, data_dir: Path | None = None) -> dict[str, Any]:
    """In a clean process: metrics of what was kept, by step, and where they were computed."""
    found = logs.trial_folders(folder.parent)
    identity = next(i for i, path in found if path.name == folder.name)
    plan = plan_of(logs.read_trial(identity, folder), data_dir)
    backend = setup.load_backend(plan.settings)
    site = setup.bind_workload(plan, backend, Heartbeat())
    (key,) = backend.keys(_first_key(plan))
    metrics = {}
    for path in _saved(folder):
        saved = files.load(path)
        template = site.workload.isolated(*site.workload.init_model_fn(key))
        state = evidence.restored(saved, backend, template)
        evaluated = site.workload.isolated(*state)
        metrics[str(saved.step)] = site.evaluator.evaluate(*evaluated)
    host = machine.host()
    return {"metrics": metrics, "devices": backend.describe_devices(), "cpu": host.cpu}


def _first_key(plan: TrialPlan) -> Any:
    from algoperf.runner.randomness import key_numbers

    return key_numbers(plan.seed, "init", count=1)


# What is compared without evaluating


def _times(trial: Trial) -> Check:
    """Rows and clock against the launcher's stamps, of every part of the trial."""
    found: list[str] = []
    num_rows = 0
    for part in range(trial.part + 1):
        path = trial.folder / STAMPS_FILE.format(part=part)
        if not path.is_file():
            return Check(TIMES, Status.UNKNOWN, f"{path.name} is missing")
        try:
            stamps = read_stamps(json.loads(read_regular(path)))
        except (ValueError, BadLogs) as error:
            return Check(TIMES, Status.UNKNOWN, f"{path.name}: {error}")
        num_rows += sum(stamp.row is not None for stamp in stamps)
        found += judgement.time_differences(
            stamps, _rows_before(trial, stamps), is_resumed=part > 0
        )
        if part == trial.part:
            rows = judgement.rows_of(trial.folder)
            before = _rows_before(trial, stamps)
            found += judgement.changed_rows(stamps, before, rows, is_resumed=part > 0)
    if found:
        return Check(TIMES, Status.DIFFERS, judgement.said(found))
    return Check(
        TIMES, Status.VERIFIED, f"{num_rows} rows as the launcher stamped them"
    )


def _rows_before(trial: Trial, stamps: Sequence[Any]) -> list[dict[str, float]]:
    """Rows in the file before the first one of these stamps."""
    first = min((s.row[STEP] for s in stamps if s.row), default=math.inf)
    return [row for row in judgement.rows_of(trial.folder) if row[STEP] < first]


def _history(trial: Trial) -> Check:
    """Rows against the results that the newest checkpoint remembers."""
    what = "checkpoint history"
    path = evidence.newest_checkpoint(trial.folder)
    if path is None:
        return Check(what, Status.UNKNOWN, "there is no checkpoint")
    try:
        snapshot = Snapshot.from_json(files.load(path).rest)
    except Exception as error:  # bytes that anything may be wrong with
        return Check(what, Status.UNKNOWN, f"{path.name} cannot be read: {error}")
    rows = {row[STEP]: row for row in judgement.rows_of(trial.folder)}
    found = []
    for step, metrics in snapshot.eval_results:
        row = rows.get(step)
        if row is None:
            found.append(f"the row of step {step} is missing from the file")
            continue
        own = EvaluationRow.from_json({k: v for k, v in row.items() if v == v})
        found += [
            f"{name} at step {step} is {own.metrics.get(name)!r} in the file and {value!r} "
            f"in {path.name}"
            for name, value in metrics.items()
            if not _is_equal(float(value), own.metrics.get(name, math.nan), 0.0)
        ]
    if found:
        return Check(what, Status.DIFFERS, judgement.said(found))
    return Check(what, Status.VERIFIED, f"{len(snapshot.eval_results)} evaluations")


def _draw(trial: Trial, plan: TrialPlan) -> Check:
    """Seed and hyperparameter point against a new draw."""
    what = "seed and hyperparameters"
    if trial.meta.seed != plan.seed:
        detail = f"the seed is {trial.meta.seed}, drawn again it is {plan.seed}"
        return Check(what, Status.DIFFERS, detail)
    settings = plan.settings
    if settings.search_space is None:
        return Check(what, Status.VERIFIED, "the seed")
    if not settings.search_space.is_file():
        return Check(what, Status.UNKNOWN, f"{settings.search_space} is not there")
    drawn = [
        p.point
        for p in plan_trials(settings)
        if (p.study, p.trial) == (plan.study, plan.trial)
    ]
    if drawn != [dict(trial.hyperparameters or {})]:
        detail = f"the point is {trial.hyperparameters}, drawn again it is {drawn}"
        return Check(what, Status.DIFFERS, detail)
    return Check(what, Status.VERIFIED)


def _code(trial: Trial, plan: TrialPlan) -> Check:
    """The submission's files against the digest that evidence and checkpoints carry."""
    what = "submission code"
    saved = _saved(trial.folder)
    path = plan.settings.submission_path
    if not saved or not path.is_file():
        missing = "no digest was kept" if not saved else f"{path} is not there"
        return Check(what, Status.UNKNOWN, missing)
    try:
        recorded = files.load(saved[-1]).identity.get("submission code")
    except Exception as error:  # bytes that anything may be wrong with
        return Check(what, Status.UNKNOWN, str(error))
    if recorded != machine.code_digest(path):
        return Check(what, Status.DIFFERS, f"{path.parent} is not what the trial ran")
    return Check(what, Status.VERIFIED)


def _data(plan: TrialPlan) -> Check:
    """The prepared data against their own checksums."""
    what, settings = "data", plan.settings
    try:
        PreparedData.open(
            settings.data_folder,
            dataset=settings.definition.dataset,
            allow_partial=settings.allow_partial_data,
        ).verify()
    except AlgoPerfError as error:
        return Check(what, Status.UNKNOWN, str(error))
    return Check(what, Status.VERIFIED)


def words(trial: Trial, found: Verification) -> str:
    """One line about a trial."""
    text = found.status.value
    detail = found.reason or next(
        (c.detail for c in found.checks if c.what == EVALUATIONS), ""
    )
    return f"{trial.folder}: {text}" + (f" ({detail})" if detail else "")


def main(arguments: list[str]) -> int:
    """Evaluates what a trial has kept, and writes what came out."""
    folder, result = Path(arguments[0]), Path(arguments[1])
    data_dir = Path(arguments[2]) if len(arguments) > 2 else None
    try:
        content = evaluate_again(folder, data_dir)
    except (AlgoPerfError, KeyError, TypeError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    result.write_text(json.dumps(content, default=str))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
