"""The gradient is one global mean, however examples lie on devices and processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_shampoo import expected_path, random_steps
from test_update_rules import problem
from tiny_workloads import classification_batch, global_mean_gradient
from update_rule_oracles import trajectory

import algoperf
from tests.closeness import FLOAT32_SHORT, assert_close

WORKER = Path(__file__).with_name("data_parallel_worker.py")


def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    root = Path(algoperf.__file__).parents[1]
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, str(WORKER), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> dict:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def assert_descended_along_the_global_mean(params: dict) -> None:
    for name, gradient in global_mean_gradient(classification_batch()).items():
        assert_close(params[name], -gradient, tolerance=FLOAT32_SHORT)


@pytest.fixture(scope="module")
def eight_devices():
    pytest.importorskip("jax")
    flags = "--xla_force_host_platform_device_count=8"
    quick = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    params = result(begin("jax", XLA_FLAGS=flags, **quick))
    assert params["num_devices"] == 8
    return params


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    pytest.importorskip("torch")
    meeting = str(tmp_path_factory.mktemp("gloo") / "rendezvous")
    processes = [begin("pytorch", str(rank), "2", meeting) for rank in range(2)]
    return [result(process) for process in processes]


def test_eight_jax_devices_take_the_gradient_of_the_global_mean(eight_devices):
    assert_descended_along_the_global_mean(eight_devices)


def test_jax_parameters_and_state_stay_replicated(eight_devices):
    assert eight_devices["is_replicated"]


def test_two_processes_with_unequal_counts_take_the_global_mean(two_processes):
    assert two_processes[0]["num_valid"] != two_processes[1]["num_valid"]
    for params in two_processes:
        assert_descended_along_the_global_mean(params)


def test_logged_loss_is_the_global_mean(eight_devices, two_processes):
    for logged in (eight_devices["loss"], two_processes[0]["loss"]):
        assert logged == pytest.approx(np.log(3), rel=1e-5)


def assert_params_are(found: dict, expected: dict, tolerance: float) -> None:
    for name, value in expected.items():
        assert_close(found[name], value, name, tolerance=tolerance)


def test_each_jax_device_keeps_its_share_of_shampoos_matrices(eight_devices):
    assert eight_devices["shares"] == [1 / 8]


def test_shampoo_on_eight_devices_follows_the_published_rule(eight_devices):
    expected = expected_path(*random_steps())[-1]
    assert_params_are(eight_devices["shampoo"], expected, 2e-3)


def test_shampoo_in_two_processes_follows_the_published_rule(two_processes):
    expected = expected_path(*random_steps())[-1]
    assert_params_are(two_processes[0]["shampoo"], expected, 1e-4)


@pytest.mark.parametrize("algorithm", ["muon", "normuon", "soap"])
def test_shared_matrices_on_devices_and_in_processes_follow_the_rule(
    eight_devices, two_processes, algorithm
):
    in_jax = trajectory(algorithm, *problem(algorithm), "jax")[-1]
    assert_params_are(eight_devices[algorithm], in_jax, 1e-5)
    in_pytorch = trajectory(algorithm, *problem(algorithm), "pytorch")[-1]
    assert_params_are(two_processes[0][algorithm], in_pytorch, 1e-10)


@pytest.mark.parametrize("algorithm", ["muon", "normuon", "soap", "shampoo"])
def test_processes_agree_to_the_last_bit(two_processes, algorithm):
    assert two_processes[0][algorithm] == two_processes[1][algorithm]
