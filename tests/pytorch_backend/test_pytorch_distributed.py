"""Two gloo processes against one: the same results up to the order of summation."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.closeness import FLOAT32_SHORT, assert_close

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
SECONDS = 120  # for processes that wait for each other forever


def start(folder, rank, world_size, port):
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.pytorch_backend.ddp_worker", str(folder)],
        cwd=ROOT,
        env={
            **os.environ,
            **{name: str(value) for name, value in {**variables, **address}.items()},
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(ROOT),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(folder, world_size):
    """What each of so many processes saw."""
    port = free_port()
    processes = [start(folder, rank, world_size, port) for rank in range(world_size)]
    try:
        for process in processes:
            text, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, text
    finally:
        for process in processes:
            process.kill()
    return [
        dict(np.load(folder / f"{rank}-of-{world_size}.npz"))
        for rank in range(world_size)
    ]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return run(tmp_path_factory.mktemp("one"), 1)[0]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return run(tmp_path_factory.mktemp("two"), 2)


def test_pytorch_setup_says_which_process_this_is(one, two):
    assert one["setup"].tolist() == ["False", "0", "cpu", "1"]
    assert two[1]["setup"].tolist() == ["True", "1", "cpu", "2"]


def test_the_slowest_process_counts(two):
    for seen in two:
        assert seen["slowest"].tolist() == [2.0, 5.0]
        assert seen["first"] == 0 and seen["all"].tolist() == [0, 1]


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_gradients_equal_those_of_one_process(one, two, rate):
    names = [name for name in one if name.startswith(f"gradient/{rate}")]
    assert len(names) == 4
    for name in names:
        assert_close(two[0][name], one[name], tolerance=FLOAT32_SHORT)
        np.testing.assert_array_equal(two[0][name], two[1][name])


def test_dropout_takes_part_in_that_comparison(one):
    name = "head.weight"
    assert not np.allclose(one[f"gradient/0.0/{name}"], one[f"gradient/0.5/{name}"])


@pytest.mark.parametrize("name", ["loss", "correct"])
def test_every_process_has_the_outputs_of_the_global_batch_in_order(one, two, name):
    for seen in two:
        assert len(seen[f"evaluate/{name}"]) == 16
        assert_close(
            seen[f"evaluate/{name}"], one[f"evaluate/{name}"], tolerance=FLOAT32_SHORT
        )


def test_initial_values_and_their_names_are_those_of_one_process(one, two):
    def values_in(seen):  # gradients differ in the last bit
        leaves = (name for name in seen if name.startswith("leaves/"))
        return {name for name in leaves if not name.endswith("/grad")}

    names = values_in(one)
    for seen in two:
        assert values_in(seen) == names
        for name in names:
            np.testing.assert_array_equal(seen[name], one[name])


def test_leaves_are_restored_into_ddp(two):
    assert [bool(seen["restored"]) for seen in two] == [True, True]


def test_types_are_found_by_the_names_that_ddp_gives(one, two):
    assert two[0]["types"].tolist() == one["types"].tolist()


def test_update_batch_norm_false_keeps_statistics_under_ddp(two):
    for seen in two:
        np.testing.assert_array_equal(seen["bn/kept"], seen["bn/before"])
        assert not np.array_equal(seen["bn/updated"], seen["bn/before"])


def test_close_releases_the_process_groups(two):
    assert not any(seen["groups_left"] for seen in two)
