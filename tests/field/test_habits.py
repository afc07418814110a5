"""Honest habits pass the guards of a trial; each with three steps on mnist_mini.

The trials of one framework share a process and differ in the file: what one leaves behind is put
down to no other, because every trial takes down anew how things are.
"""

import contextlib
import gc
import importlib.util
import os
import warnings
from pathlib import Path

import habits
import pytest

from algoperf import cli, logs
from algoperf.logs import Outcome
from algoperf.runner import experiment
from algoperf.runner.settings import Settings

PACKAGES = {"jax": "flax", "pytorch": "torch"}
TEMPLATES = {"jax": habits.JAX, "pytorch": habits.PYTORCH}
CASES = [
    *(("pytorch", what) for what in (*habits.BOTH, *habits.OF_PYTORCH)),
    *(("jax", what) for what in habits.OF_JAX),
]
# The guards are the same code for both frameworks, and JAX compiles for seconds.
SLOW_CASES = [("jax", what) for what in habits.BOTH]
HABITS = habits.BOTH | habits.OF_PYTORCH | habits.OF_JAX


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    assert cli.main(["prepare", "mnist_mini", "--data-dir", str(folder)]) == 0
    return folder


@contextlib.contextmanager
def process_as_before():
    """Takes back what a habit sets, for the tests that come after."""
    environment = dict(os.environ)
    state = {}
    if importlib.util.find_spec("jax"):
        import jax

        state = dict(jax.config.values)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        gc.enable()
        gc.unfreeze()
        for name, value in state.items():
            if jax.config.values[name] != value:
                jax.config.update(name, value)
        with contextlib.suppress(ImportError):
            import torch

            torch.set_float32_matmul_precision("highest")
            torch.use_deterministic_algorithms(False)
            torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize(
    ("framework", "what"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES)],
)
def test_an_honest_habit_breaks_no_rule(
    framework, what, data_dir, tmp_path, compiled_once
):
    habit = HABITS[what]
    for package in (PACKAGES[framework], *habit.needs):
        pytest.importorskip(package)
    folder = tmp_path / "submissions" / "me"
    folder.mkdir(parents=True)
    for name, content in habit.files:
        (folder / name).write_text(content)
    path = folder / "submission.py"
    path.write_text(habit.written(TEMPLATES[framework]))
    with process_as_before():
        ending = run(framework, path, data_dir, tmp_path)
    assert ending.outcome is Outcome.NOT_REACHED, ending.reason
    assert ending.num_evaluations >= 2


def run(framework: str, path: Path, data_dir: Path, tmp_path: Path) -> logs.Trial:
    settings = Settings(
        submission_path=path,
        framework=framework,
        workload="mnist_mini",
        experiment_dir=tmp_path / "logs",
        experiment_name="habit",
        data_dir=data_dir,
        tuning="self",
        num_studies=1,
        max_global_steps=3,
        eval_period_steps=1,
        save_checkpoints=False,
        isolate=False,
    )
    experiment.run(settings, lambda text: None)
    (trial,) = logs.read(tmp_path / "logs")
    return trial
