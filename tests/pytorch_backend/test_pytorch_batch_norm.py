"""Batch norm of PyTorch models against plain numpy, in one and two processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracles_batch_norm as oracle
import pytest

torch = pytest.importorskip("torch")

from algoperf.pytorch_backend.batch_norm import BatchNorm  # noqa: E402
from algoperf.pytorch_backend.initializers import constant  # noqa: E402
from tests.closeness import FLOAT32_SHORT, assert_close  # noqa: E402
from tests.pytorch_backend import batch_norm_worker as worker  # noqa: E402

ROOT = Path(__file__).parents[2]
each_case = pytest.mark.parametrize("case", range(len(oracle.CASES)))


@each_case
def test_training_uses_statistics_of_virtual_batches(case):
    batch_size, virtual, padded = oracle.CASES[case]
    x, mask = oracle.example(batch_size, padded)
    found = worker.step(case, 0, 1)
    expected, mean, var = oracle.normalised(x, mask, virtual)
    assert_close(found["y"], expected)
    assert_close(found["mean"], mean, tolerance=FLOAT32_SHORT)
    assert_close(found["var"], var, tolerance=FLOAT32_SHORT)


def test_the_feature_axis_may_be_any():
    x, _ = oracle.example(8, padded=False)
    inputs = torch.from_numpy(x)
    last = worker.layer(4)(inputs)
    second = worker.layer(4, feature_axis=1)(inputs.movedim(-1, 1))
    assert_close(second.movedim(1, -1), last, tolerance=FLOAT32_SHORT)


def test_evaluation_uses_running_statistics():
    x, _ = oracle.example(4, padded=False)
    scale, bias = oracle.scale_and_bias()
    y = worker.layer(None).eval()(torch.from_numpy(x)).detach()
    expected = x / np.sqrt(1 + oracle.EPSILON) * (oracle.OFFSET + scale) + bias
    assert_close(y, expected, tolerance=FLOAT32_SHORT)


@pytest.mark.parametrize("padded", [False, True])
def test_running_statistics_stay_when_they_are_not_to_be_updated(padded):
    x, mask = oracle.example(8, padded)
    norm = worker.layer(4)
    norm.update_running_statistics = False
    norm(torch.from_numpy(x), None if mask is None else torch.from_numpy(mask))
    assert not norm.running_mean.any() and (norm.running_var == 1).all()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """What each of two processes found in each case."""
    folder = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-m", "tests.pytorch_backend.batch_norm_worker"]
    running = [
        subprocess.Popen([*command, str(folder), str(rank), "2"], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    return lambda case: [dict(np.load(folder / f"{case}-{r}.npz")) for r in range(2)]


@each_case
def test_two_processes_compute_what_one_does(case, two_processes):
    one, two = worker.step(case, 0, 1), two_processes(case)
    for name in ("y", "gradient"):
        joined = np.concatenate([part[name] for part in two])
        assert_close(joined, one[name])
    summed = sum(part["weight_gradient"] for part in two)
    assert_close(summed, one["weight_gradient"])
    for name in ("mean", "var"):
        assert_close(two[0][name], one[name], tolerance=FLOAT32_SHORT)
        np.testing.assert_array_equal(two[0][name], two[1][name])


def test_a_compiled_layer_has_no_graph_break():
    x, mask = (torch.from_numpy(array) for array in oracle.example(8, padded=True))
    norm = torch.compile(worker.layer(4), fullgraph=True, backend="eager")
    assert_close(norm(x, mask), worker.layer(4)(x, mask), tolerance=FLOAT32_SHORT)
    assert_close(norm(x), worker.layer(4)(x), tolerance=FLOAT32_SHORT)


def test_the_scale_starts_as_asked():
    norm = BatchNorm(3, scale_init=constant(8.0))
    norm.reset_parameters(torch.Generator())
    assert norm.weight.tolist() == [8, 8, 8] and norm.bias.tolist() == [0, 0, 0]
