"""Submissions in the style of those written for the published API run unmodified."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from algoperf import cli, logs
from algoperf.logs import Outcome

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = {"jax": "flax", "pytorch": "torch"}
SPACE = {
    "learning_rate": {"min": 1e-3, "max": 1e-3, "scaling": "log"},
    "one_minus_beta1": {"feasible_points": [0.1]},
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    assert cli.main(["prepare", "mnist_mini", "--data-dir", str(folder)]) == 0
    return folder


def run(framework, data_dir, folder, *launcher, **environment):
    folder.mkdir(exist_ok=True)
    (folder / "space.json").write_text(json.dumps(SPACE))
    return subprocess.run(
        [sys.executable, *launcher, "submission_runner.py", f"--framework={framework}"]
        + [f"--submission_path={HERE / f'own_{framework}' / 'submission.py'}"]
        + ["--workload=mnist_mini", "--num_tuning_trials=1", f"--data_dir={data_dir}"]
        + [f"--tuning_search_space={folder / 'space.json'}", "--experiment_name=field"]
        + [f"--experiment_dir={folder}", "--max_global_steps=40"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def check(result, folder):
    assert result.returncode == 0, result.stdout + result.stderr
    (trial,) = logs.read(folder)
    assert trial.outcome is Outcome.NOT_REACHED
    assert "ended its training at step 25" in trial.reason
    losses = trial.metric("train/loss")
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    scalars = (trial.folder / "measurements.csv").read_text().splitlines()
    logged = [int(row.split(",")[0]) for row in scalars[1:]]
    assert logged[:5] == [0, 5, 10, 15, 20] and "loss" in scalars[0]
    assert list((trial.folder / "checkpoints").glob("ckpt-*"))


@pytest.mark.parametrize("framework", PACKAGES)
def test_a_submission_from_the_field_runs(framework, data_dir, tmp_path):
    pytest.importorskip(PACKAGES[framework])
    check(run(framework, data_dir, tmp_path / "logs"), tmp_path / "logs")


def test_a_jax_submission_from_the_field_uses_all_devices(data_dir, tmp_path):
    pytest.importorskip("flax")
    flags = "--xla_force_host_platform_device_count=8"
    result = run("jax", data_dir, tmp_path / "logs", XLA_FLAGS=flags)
    check(result, tmp_path / "logs")


def test_a_pytorch_submission_from_the_field_runs_under_torchrun(data_dir, tmp_path):
    pytest.importorskip("torch")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    check(run("pytorch", data_dir, tmp_path / "logs", *launcher), tmp_path / "logs")
