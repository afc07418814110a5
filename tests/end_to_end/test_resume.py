"""`algoperf run` killed with SIGKILL at random points, resumed, and compared bit by bit.

Evaluations are due by steps here: by time, two runs would evaluate after different steps.
"""

import contextlib
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from processes import num_rows, start, wait_until

from algoperf import exit_status, logs
from algoperf.runner.checkpoints import files as checkpoint
from algoperf.runner.plan import plan_trials
from algoperf.runner.settings import Settings


@dataclass(frozen=True)
class Result:
    """What is left of a trial on disk."""

    rows: dict[str, list[float]]
    seconds: np.ndarray
    interruptions: float
    period: float  # seconds of wall time from evaluation to evaluation
    final: checkpoint.Checkpoint


def folder_of(settings: Settings) -> Path:
    return plan_trials(settings)[0].folder


def result_of(settings: Settings) -> Result:
    (trial,) = logs.read(settings.experiment_dir / settings.experiment_name)
    columns = trial.columns
    newest = checkpoint.load_latest(
        trial.folder / checkpoint.FOLDER, _identity(trial.folder), warn=pytest.fail
    )
    assert newest is not None
    return Result(
        {k: v.tolist() for k, v in columns.items() if "/" in k or k == logs.STEP},
        columns[logs.SUBMISSION_SECONDS],
        float(columns["preemption_count"][-1]),
        float(np.median(np.diff(columns["total_duration"]))),
        newest,
    )


def _identity(folder: Path) -> dict[str, object]:
    """Of whatever checkpoint is there: the test compares more than that."""
    newest = max(
        (folder / checkpoint.FOLDER).iterdir(), key=lambda p: int(p.name.split("-")[1])
    )
    return dict(checkpoint.load(newest).identity)


def kill_all(run) -> None:
    """SIGKILL for the command and all its descendants, as when a machine is switched off."""
    if run.poll() is not None:
        return  # too late: it has ended
    family = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    run.communicate()
    psutil.wait_procs(family, timeout=60)


def killed_and_resumed(
    settings: Settings, period: float, num_kills: int, seed: int
) -> Result:
    """Kills a run at random points all over it, resumes it each time, and lets it end.

    `period`: about the seconds from one evaluation to the next, in which a kill may fall.
    """
    rng = random.Random(seed)
    total = -(-settings.max_global_steps // settings.eval_period_steps)
    points = sorted(rng.sample(range(total - 2), num_kills))
    arguments: tuple[str, ...] = ()
    for rows in points:
        run = start(settings, *arguments)
        wait_until(
            lambda run=run, rows=rows: (
                num_rows(folder_of(settings)) >= rows or run.poll() is not None
            ),
            f"{rows} evaluations",
        )
        time.sleep(rng.uniform(0, 1.5 * period))
        kill_all(run)
        arguments = ("--resume",)
    last = start(settings, *arguments)
    assert last.wait() == 0, last.stderr.read()
    return result_of(settings)


def check_equal(whole: Result, broken: Result) -> None:
    assert broken.rows == whole.rows
    assert broken.final.step == whole.final.step
    assert broken.final.arrays.keys() == whole.final.arrays.keys()
    for name, array in whole.final.arrays.items():
        np.testing.assert_array_equal(broken.final.arrays[name], array, err_msg=name)
    assert broken.final.rest["position"] == whole.final.rest["position"]
    steps = broken.rows[logs.STEP]
    assert steps == sorted(set(steps))
    assert (np.diff(broken.seconds) > 0).all()


def uninterrupted(settings: Settings) -> Result:
    run = start(settings)
    _, errors = run.communicate()
    assert run.returncode == 0, errors
    return result_of(settings)


@pytest.fixture
def length() -> dict[str, object]:
    return {
        "workload": "mnist_unhurried",
        "max_global_steps": 41,
        "eval_period_steps": 4,
    }


def test_a_run_killed_twice_ends_with_the_same_bits(framework, reference, length):
    whole = reference("nadamw", framework, **length, experiment_name="whole")
    broken = reference("nadamw", framework, **length, experiment_name="broken")
    expected = uninterrupted(whole)
    result = killed_and_resumed(broken, expected.period, num_kills=2, seed=1)
    check_equal(expected, result)
    assert result.interruptions >= 1


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_run_killed_twenty_times_ends_with_the_same_bits(
    framework, reference, length, num_processes
):
    if framework == "jax" and num_processes > 1:
        pytest.skip("JAX uses all devices from one process")
    length |= {"max_global_steps": 241, "num_processes": num_processes}
    whole = reference("nadamw", framework, **length, experiment_name="whole")
    broken = reference("nadamw", framework, **length, experiment_name="broken")
    expected = uninterrupted(whole)
    result = killed_and_resumed(broken, expected.period, num_kills=20, seed=2)
    check_equal(expected, result)
    assert result.interruptions >= 10  # the others hit before the first checkpoint


def test_seconds_of_redone_work_are_charged_once(toy, tmp_path):
    """Each step sleeps; a resumed trial has slept all its steps, and no step twice."""
    path = tmp_path / "own" / "submission.py"
    path.parent.mkdir()
    text = (Path(toy().submission_path)).read_text()
    slow = "import time; time.sleep(0.03); params['weight'] *= 0\n    return state,"
    path.write_text(text.replace("return state,", slow))
    settings = toy(
        submission_path=path, num_trials=1, max_global_steps=41, eval_period_steps=4
    )
    result = killed_and_resumed(settings, period=0.15, num_kills=3, seed=3)
    slept = 0.03 * 41
    assert result.seconds[-1] >= slept  # never lost, never free
    assert result.rows[logs.STEP] == list(range(1, 42, 4))
    # A restart costs the submission no more than the steps since its last checkpoint.
    gaps = np.diff(result.seconds)
    assert (gaps >= 4 * 0.03).all()


@pytest.mark.slow
def test_sigterm_stops_two_processes_at_the_same_step(reference, length):
    pytest.importorskip("torch")
    length |= {"num_processes": 2, "eval_period_steps": 1}
    whole = reference("nadamw", "pytorch", **length, experiment_name="whole")
    broken = reference("nadamw", "pytorch", **length, experiment_name="broken")
    expected = uninterrupted(whole)
    run = start(broken)
    wait_until(lambda: num_rows(folder_of(broken)) >= 2, "two evaluations")
    run.send_signal(signal.SIGTERM)
    out, errors = run.communicate()
    assert run.returncode == exit_status.PREEMPTED, errors
    assert "go on with --resume" in out
    resumed = start(broken, "--resume")
    assert resumed.wait() == 0, resumed.stderr.read()
    result = result_of(broken)
    check_equal(expected, result)
    assert result.interruptions == 1


HANG = """
import os, time
from algoperf.reference_algorithms.nadamw import submission_pytorch as nadamw
from algoperf.reference_algorithms.nadamw.submission_pytorch import *

def update_params(*, global_step, **rest):
    if global_step == 3 and os.environ["RANK"] == "1":
        time.sleep(600)
    return nadamw.update_params(global_step=global_step, **rest)
"""


@pytest.mark.slow
def test_a_hang_of_one_process_leaves_the_stacks_of_all(reference, length, tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "hanging" / "submission.py"
    path.parent.mkdir()
    path.write_text(HANG)
    length |= {"num_processes": 2, "eval_period_steps": 1, "hang_seconds": 5.0}
    settings = reference("nadamw", "pytorch", **length, submission_path=path)
    run = start(settings)
    out, _ = run.communicate()
    assert run.returncode == 1
    assert "nothing moved for" in out
    folder = folder_of(settings)
    assert "submission.py" in (folder / "stacks_1.txt").read_text()
    assert "Thread" in (folder / "stacks_0.txt").read_text()


OWN_STATE = """
import os, torch
from algoperf.reference_algorithms.nadamw import submission_pytorch as nadamw
from algoperf.reference_algorithms.nadamw.submission_pytorch import *

RANK = int(os.environ["RANK"])

def init_optimizer_state(*arguments):
    return nadamw.init_optimizer_state(*arguments), {"mine": torch.zeros(2) + RANK}

def update_params(*, optimizer_state, **rest):
    state, own = optimizer_state
    own["mine"] += torch.rand(2) + RANK  # a generator of its own, too
    torch.rand(RANK)
    state, params, model_state = nadamw.update_params(optimizer_state=state, **rest)
    with torch.no_grad():  # the sum over processes, so that what is lost shows
        both = own["mine"].clone()
        torch.distributed.all_reduce(both)
        next(params.parameters()).mul_(1 - 1e-4 * both.sum())
    return (state, own), params, model_state
"""


@pytest.mark.slow
def test_each_process_goes_on_from_its_own_state(reference, length, tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "own" / "submission.py"
    path.parent.mkdir()
    path.write_text(OWN_STATE)
    length |= {"num_processes": 2, "submission_path": path}
    whole = reference("nadamw", "pytorch", **length, experiment_name="whole")
    broken = reference("nadamw", "pytorch", **length, experiment_name="broken")
    expected = uninterrupted(whole)
    result = killed_and_resumed(broken, expected.period, num_kills=2, seed=4)
    check_equal(expected, result)
    assert any(name.startswith("harness/rank 1/") for name in result.final.arrays)
