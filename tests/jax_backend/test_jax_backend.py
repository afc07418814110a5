"""Keys, placement, synchronising and the rest of the backend, on one device."""

import concurrent.futures
import time
from typing import Any, NamedTuple

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

from algoperf import backend as backend_module  # noqa: E402
from algoperf import jax_sharding_utils  # noqa: E402
from algoperf.errors import BadSettings  # noqa: E402
from algoperf.jax_backend import make_backend  # noqa: E402


@pytest.fixture(scope="module")
def backend():
    return make_backend()


def test_the_harness_loads_the_backend_by_name():
    backend = backend_module.load("jax")
    assert (backend.name, backend.rank, backend.num_processes) == ("jax", 0, 1)


def test_an_unknown_precision_is_refused_with_the_near_one():
    with pytest.raises(BadSettings, match="Did you mean 'bf16'"):
        make_backend(precision="bf_16")


def test_devices_are_described_with_versions_and_precision(backend):
    description = backend.describe_devices()
    assert description["num_devices"] == jax.local_device_count()
    assert description["precision"] == "float32"
    assert description["matmul_precision"] == "tensorfloat32"
    assert description["versions"]["jax"] == jax.__version__


@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_keys_hold_the_numbers_given(backend, count):
    numbers = np.random.default_rng(0).integers(0, 2**32, (count, 2), np.uint32)
    keys = backend.keys(numbers)
    assert len(keys) == count
    np.testing.assert_array_equal(np.array(keys).reshape(count, 2), numbers)


def test_keys_are_raw_jax_keys(backend):
    (key,) = backend.keys(np.array([[0, 42]], np.uint32))
    assert key.dtype == jnp.uint32 and key.sharding.is_fully_replicated
    np.testing.assert_array_equal(key, jax.random.PRNGKey(42))
    first, second = jax.random.split(key)
    assert not np.array_equal(first, second)
    assert not np.array_equal(jax.random.fold_in(key, 1), key)
    replicated = jax_sharding_utils.get_replicate_sharding()
    draw = jax.jit(lambda k: jax.random.normal(k, (2,)), in_shardings=replicated)
    np.testing.assert_array_equal(draw(key), jax.random.normal(key, (2,)))


def test_keys_compile_once_whatever_their_number(backend):
    backend.keys(np.zeros((3, 2), np.uint32))
    compiled = backend._unstack._cache_size()
    backend.keys(np.zeros((150, 2), np.uint32))
    # JAX shares what it has compiled with other backends of this process.
    assert backend._unstack._cache_size() == compiled >= 1


class Graphs(NamedTuple):
    """A nested value of a batch."""

    nodes: np.ndarray
    senders: np.ndarray


def test_place_keeps_nested_structures_values_and_dtypes(backend):
    graphs = Graphs(np.ones((4, 2), np.float32), np.arange(4, dtype=np.int32))
    batch = {"inputs": graphs, "targets": (np.zeros(2, bool), np.ones((2, 3)))}
    placed = backend.place(batch)
    assert isinstance(placed["inputs"], Graphs)
    assert isinstance(placed["targets"][0], jax.Array)
    assert placed["inputs"].senders.dtype == np.int32
    np.testing.assert_array_equal(placed["inputs"].nodes, graphs.nodes)


def test_place_works_from_several_threads(backend):
    batches = [{"inputs": np.full((4, 100), i, np.float32)} for i in range(20)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        placed = list(pool.map(backend.place, batches))
    for i, batch in enumerate(placed):
        assert np.all(np.asarray(batch["inputs"]) == i)


HIDDEN: list[Any] = []


@jax.jit
def heavy(x):
    """Some hundred milliseconds of work."""
    return jax.lax.fori_loop(0, 40, lambda _, y: jnp.tanh(y @ x), x)


def test_synchronize_awaits_work_whose_result_is_hidden(backend):
    x = jnp.full((700, 700), 1e-3)
    heavy(x).block_until_ready()
    HIDDEN.append(heavy(x))
    was_ready = HIDDEN[0].is_ready()
    backend.synchronize()
    assert HIDDEN.pop().is_ready()
    assert not was_ready  # else the work was too small for this test to mean anything


def test_synchronize_awaits_work_whose_result_was_dropped(backend):
    x = jnp.full((700, 700), 1e-3)
    heavy(x).block_until_ready()
    heavy(x)
    backend.synchronize()
    cpu_seconds = time.process_time()
    time.sleep(0.1)
    # Work that still ran would take one core's time for as long as we slept.
    assert time.process_time() - cpu_seconds < 0.05


def test_synchronize_skips_donated_and_deleted_arrays(backend):
    donated, deleted = jnp.ones(3), jnp.ones(3)
    result = jax.jit(lambda x: x + 1, donate_argnums=0)(donated)
    deleted.delete()
    backend.synchronize({"a": donated, "b": [deleted, result, None, "text"]})
    assert result.is_ready()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_is_finite_looks_at_every_parameter(backend, bad):
    good = {"a": jnp.ones(3), "b": {"c": jnp.ones((2, 2)), "d": jnp.arange(3)}}
    assert backend.is_finite(good)
    assert not backend.is_finite({**good, "e": jnp.array([1.0, bad])})


def test_messages_of_one_process_are_the_identity(backend):
    assert backend.processes.all_reduce_max([1.5, 2.0]) == [1.5, 2.0]
    assert backend.processes.gather("it") == ["it"]
    assert backend.processes.broadcast("it") == "it"
    backend.processes.barrier()
