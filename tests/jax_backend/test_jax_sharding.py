"""Eight fake devices, in a process of their own: placement and equal results."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.closeness import assert_close

pytest.importorskip("jax")

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, jax, numpy as np
from algoperf import jax_sharding_utils as sharding
from algoperf.errors import BadSettings
from algoperf.jax_backend import make_backend, sharding as jax_sharding
from algoperf.spec import ForwardPassMode
from tests.jax_backend import tiny_model

backend = make_backend()
bound = backend.bind(tiny_model.definition(), tiny_model, tiny_model.Metrics)
key = backend.keys(np.array([[0, 7]], np.uint32))[0]
params, state = bound.init(key)
batch = backend.place({**tiny_model.batch(), "scalar": np.float32(1)})

@jax.jit
def step(params, state, batch, key):
    def mean(params):
        logits, new_state = bound.forward(
            params, batch, state, ForwardPassMode.TRAIN, key, True, 0.3)
        loss = bound.loss(batch["targets"], logits, batch["weights"], 0.1)
        return loss["summed"] / loss["n_valid_examples"], new_state
    return jax.value_and_grad(mean, has_aux=True)(params)

(loss, new_state), gradient = step(params, state, batch, key)
try:
    backend.place({"inputs": np.zeros((9, 2))})
    refused = ""
except BadSettings as error:
    refused = str(error)
arrays, rest = backend.to_leaves({"p": params, "b": batch})
restored = backend.from_leaves({"p": params, "b": batch}, arrays, rest)
outputs, _ = bound.evaluate(params, state, batch)
devices = []

def on_a_device(variables, part):
    devices.append(part["inputs"].shape)  # once, when it is traced
    return {"sum": part["inputs"].sum(axis=1) * variables}

over_devices = jax.jit(lambda *of: jax_sharding.over_devices(on_a_device, *of))
joined = over_devices(2.0, {"inputs": batch["inputs"]})
expected = 2 * np.asarray(batch["inputs"]).sum(axis=1)
fetch = lambda tree: jax.tree.map(lambda x: np.asarray(x).tolist(), tree)
print(json.dumps({
    "devices": backend.num_devices,
    "axes": list(sharding.get_mesh().axis_names),
    "shard_shapes": [list(s.data.shape) for s in batch["inputs"].addressable_shards],
    "scalar_replicated": batch["scalar"].sharding.is_fully_replicated,
    "params_devices": sorted({len(x.sharding.device_set)
                              for x in jax.tree.leaves(params)}),
    "key_devices": len(key.sharding.device_set),
    "restored_sharding": restored["b"]["inputs"].sharding
                         == sharding.get_batch_dim_sharding(),
    "helpers": [sharding.replicate(np.zeros(3)).sharding.is_fully_replicated,
                sharding.shard_along_batch_dim({"x": np.zeros(16)})["x"].sharding
                == sharding.get_batch_dim_sharding()],
    "on_a_device": devices[0],
    "joined": np.allclose(joined["sum"], expected),
    "refused": refused,
    "finite": backend.is_finite(params),
    "loss": float(loss),
    "gradient": fetch(gradient),
    "state": fetch(new_state),
    "outputs": fetch(outputs),
}))
"""


def run(num_devices):
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def one():
    return run(1)


@pytest.fixture(scope="module")
def eight():
    return run(8)


def test_the_mesh_is_one_batch_axis_over_all_devices(eight):
    assert eight["devices"] == 8
    assert eight["axes"] == ["batch"]


def test_batches_are_cut_along_the_first_axis_and_scalars_replicated(eight):
    assert eight["shard_shapes"] == [[2, 4]] * 8
    assert eight["scalar_replicated"]


def test_parameters_and_keys_are_on_every_device(eight):
    assert eight["params_devices"] == [8]
    assert eight["key_devices"] == 8


def test_the_public_helpers_place_on_the_mesh(eight):
    assert eight["helpers"] == [True, True]


def test_restored_arrays_are_sharded_like_the_template(eight):
    assert eight["restored_sharding"]


def test_each_device_works_on_its_part_of_a_batch(one, eight):
    assert (one["on_a_device"], eight["on_a_device"]) == ([16, 4], [2, 4])
    assert one["joined"] and eight["joined"]


def test_a_batch_that_cannot_be_cut_is_refused_by_name(eight):
    assert "['inputs'] has 9 rows" in eight["refused"]
    assert "multiple of 8" in eight["refused"]


@pytest.mark.parametrize("part", ["loss", "gradient", "state", "outputs"])
def test_eight_devices_compute_what_one_computes(one, eight, part):
    assert_close(flatten(eight[part]), flatten(one[part]))


def flatten(tree):
    if isinstance(tree, dict):
        return [x for key in sorted(tree) for x in flatten(tree[key])]
    if isinstance(tree, list):
        return [x for item in tree for x in flatten(item)]
    return [float(tree)]


def test_importing_the_backend_looks_for_no_device():
    code = (
        "import algoperf.jax_backend, algoperf.jax_sharding_utils, jax._src.xla_bridge"
        " as bridge; assert not bridge.backends_are_initialized()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, check=True)
