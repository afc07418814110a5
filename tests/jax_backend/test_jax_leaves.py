"""Checkpoint leaves: round trips and refusals."""

import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import flax.training.train_state  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from algoperf.errors import BadCheckpoint  # noqa: E402
from algoperf.jax_backend.leaves import from_leaves, to_leaves  # noqa: E402
from algoperf.jax_sharding_utils import replicate  # noqa: E402
from algoperf.spec import ParameterType  # noqa: E402


@pytest.fixture(scope="module")
def strict_promotion():
    """Off: optax multiplies floats with the number of its step, which is an int."""


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["count", "mean"], meta_fields=["tag"]
)
@dataclasses.dataclass
class Running:
    """A dataclass that JAX knows."""

    count: Any
    mean: Any
    tag: str = "x"


class Pair(NamedTuple):
    """A named tuple."""

    first: Any
    second: Any


def through_json(tree, template):
    arrays, rest = to_leaves(tree)
    return from_leaves(template, arrays, json.loads(json.dumps(rest, allow_nan=False)))


def assert_equal_trees(result, expected):
    assert jax.tree.structure(result) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(result), jax.tree.leaves(expected), strict=True):
        assert type(a) is type(b)
        if isinstance(a, jax.Array):
            assert a.dtype == b.dtype
            if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            assert a.weak_type == b.weak_type
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("state", "fresh"),
    [
        (jnp.arange(3, dtype=jnp.bfloat16), jnp.zeros(3, jnp.bfloat16)),
        (jnp.array(True), jnp.array(False)),
        (jax.random.PRNGKey(3), jax.random.PRNGKey(0)),
        (jax.random.key(3), jax.random.key(0)),
        (
            jax.random.split(jax.random.key(3, impl="rbg")),
            jax.random.split(jax.random.key(0, impl="rbg")),
        ),
        (np.arange(4, dtype=np.int64), np.zeros(4, np.int64)),
        (np.float64(0.5), np.float64(0)),
        ([1, 2.5, "text", True, None], [0, 0.0, "", False, None]),
        ([math.inf, -math.inf, math.nan], [0.0, 0.0, 0.0]),
        ({"a']['b": 1, "a": {"b": 2}}, {"a']['b": 0, "a": {"b": 0}}),
        ({1: jnp.ones(2), 2: 5}, {1: jnp.zeros(2), 2: 0}),
        ({(0, "k"): 1, (1, "k"): 2}, {(0, "k"): 0, (1, "k"): 0}),
        (Running(jnp.ones(()), jnp.ones(2)), Running(jnp.zeros(()), jnp.zeros(2))),
        (Pair(1, Pair(jnp.ones(1), ())), Pair(0, Pair(jnp.zeros(1), ()))),
        (ParameterType.BIAS, ParameterType.WEIGHT),
        ((), ()),
    ],
)
def test_a_state_comes_back_as_it_was(state, fresh):
    assert_equal_trees(through_json(state, fresh), state)


def test_an_optax_state_with_its_update_function_comes_back():
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(1, 9))
    )
    fresh = (optimizer.init(params), optimizer.update)
    _, after = optimizer.update(params, fresh[0], params)
    state, update = through_json((after, optimizer.update), fresh)
    assert update is fresh[1]
    assert_equal_trees(state, after)


def test_mixed_dict_keys_that_jax_cannot_sort_are_saved():
    result = through_json({1: 10, "one": 20}, {1: 0, "one": 0})
    assert result == {1: 10, "one": 20}


def test_weak_types_survive_because_promotion_depends_on_them():
    weak = jnp.asarray(2.0)
    result = through_json(
        {"w": weak, "many": weak * jnp.full(2, 1.0)},
        {"w": weak * 0, "many": jnp.zeros(2)},
    )
    assert result["w"].weak_type and result["many"].weak_type
    assert (result["w"] * jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("state", "fresh"),
    [(jnp.array(3), 0), (3, jnp.array(0)), (jnp.ones(2), None), (None, jnp.array(0))],
)
def test_a_leaf_that_changed_its_kind_comes_back_as_saved(state, fresh):
    result = through_json({"step": state}, {"step": fresh})["step"]
    assert type(result) is type(state)
    assert np.array_equal(result, state)


def test_arrays_take_the_placement_that_they_had():
    state = {"on_mesh": replicate(jnp.ones(2)), "anywhere": jnp.ones(2)}
    result = through_json(state, {"on_mesh": jnp.zeros(2), "anywhere": None})
    assert result["on_mesh"].sharding == state["on_mesh"].sharding
    assert result["on_mesh"].committed and not result["anywhere"].committed


def test_restored_arrays_do_not_share_memory_with_the_checkpoint():
    arrays, rest = to_leaves({"w": np.zeros(1000, np.float32), "x": jnp.zeros(1000)})
    saved = {key: np.array(value) for key, value in arrays.items()}
    result = from_leaves(
        {"w": np.ones(1000, np.float32), "x": jnp.ones(1000)}, saved, rest
    )
    for value in saved.values():
        value[:] = 7
    assert not np.any(result["w"]) and not np.any(result["x"])


def test_arrays_are_named_by_their_paths():
    arrays, _ = to_leaves({"opt": (Pair(jnp.ones(1), 2),)})
    assert set(arrays) == {"opt/[0]/first"}


BASE = {"a": jnp.ones((2, 3)), "b": 1}


@pytest.mark.parametrize(
    "fresh",
    [
        {**BASE, "c": jnp.ones(1)},
        {"a": BASE["a"]},
        {**BASE, "a": jnp.ones((3, 2))},
        {**BASE, "a": jnp.ones((2, 3), jnp.bfloat16)},
        {**BASE, "b": jnp.ones(2)},
        {**BASE, "a": jax.random.key(0)},
        None,
    ],
)
def test_another_structure_shape_or_dtype_than_the_templates_comes_back(fresh):
    assert_equal_trees(through_json(BASE, fresh), BASE)


def test_a_key_of_another_generator_comes_back():
    state = {"k": jax.random.key(3)}
    for fresh in (jax.random.key(0, impl="rbg"), jax.random.PRNGKey(0)):
        assert_equal_trees(through_json(state, {"k": fresh}), state)


def test_an_object_that_would_be_lost_is_refused_by_name():
    with pytest.raises(BadCheckpoint, match=r"'x' is of type object"):
        to_leaves({"x": object()})


def test_a_donated_array_is_refused_by_name():
    x = jnp.ones(2)
    x.delete()
    with pytest.raises(BadCheckpoint, match=r"'x' was donated"):
        to_leaves({"x": x})


def test_a_tracer_that_leaked_is_refused_by_name():
    leaked = []
    jax.jit(leaked.append)(1.0)
    with pytest.raises(BadCheckpoint, match=r"'\[0\]'.*leaked"):
        to_leaves(leaked)


def test_a_state_that_came_up_later_goes_on():
    """What a submission keeps aside at an evaluation, and an optimizer made then."""
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    optimizer = optax.chain(optax.trace(0.9), optax.scale_by_learning_rate(0.1))
    state = {"opt": optimizer.init(params), "kept": params, "outer": optimizer}
    result = through_json(state, {"opt": None, "kept": None})
    assert_equal_trees(result["kept"], params)
    expected, _ = optimizer.update(params, state["opt"], params)
    updates, _ = result["outer"].update(params, result["opt"], params)
    assert_equal_trees(updates, expected)


OPTIMIZERS = {
    "averages": lambda: optax.chain(optax.ema(0.9), optax.sgd(0.1)),
    "several steps": lambda: optax.MultiSteps(optax.adam(0.1), 2),
    "masked": lambda: optax.masked(optax.adam(0.1), {"w": True, "b": False}),
    "injected": lambda: optax.inject_hyperparams(optax.adam)(
        optax.cosine_decay_schedule(0.1, 9)
    ),
    "parts": lambda: optax.partition(
        {"a": optax.adam(1.0), "b": optax.set_to_zero()}, {"w": "a", "b": "b"}
    ),
    "noise": lambda: optax.add_noise(0.1, 0.5, jax.random.key(0)),
    "finite": lambda: optax.apply_if_finite(optax.sgd(0.1), 3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_states_of_optax_go_on_without_a_template(name):
    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3)}
    optimizer = OPTIMIZERS[name]()
    _, state = optimizer.update(params, optimizer.init(params), params)
    result = through_json({"s": state}, {})["s"]
    assert_equal_trees(result, state)
    expected = optimizer.update(params, state, params)
    assert_equal_trees(optimizer.update(params, result, params), expected)


@jax.tree_util.register_pytree_node_class
class Own:
    """A node of a submission's own, with static parts."""

    def __init__(self, array, static):
        self.array, self.static = array, static

    def tree_flatten(self):
        return (self.array,), self.static

    @classmethod
    def tree_unflatten(cls, static, children):
        return cls(children[0], static)


@flax.struct.dataclass
class Struct:
    """As many submissions keep their state."""

    array: Any
    count: int = flax.struct.field(pytree_node=False, default=0)


@pytest.mark.parametrize(
    "state",
    [
        Own(jnp.ones(2), (1, "a")),
        Struct(jnp.ones(2), 7),
        flax.core.freeze({"a": {"b": jnp.ones(1)}}),
        jax.tree_util.Partial(jnp.add, jnp.ones(2)),
        optax.MaskedNode(),
        {"history": [(1, {"loss": jnp.ones(())})] * 3, "step": 3},
        [jnp.ones(2, dtype) for dtype in ("bfloat16", "float8_e4m3fn", "int4", "bool")],
    ],
)
@pytest.mark.parametrize("fresh", [None, Own(jnp.zeros(2), (0,)), Struct(0, 1)])
def test_nodes_of_all_kinds_come_back(state, fresh):
    assert_equal_trees(through_json({"s": state}, {"s": fresh}), {"s": state})


def test_a_train_state_of_flax_goes_on():
    module = flax.linen.Dense(3)
    params = module.init(jax.random.key(0), jnp.ones((1, 2)))["params"]
    state = flax.training.train_state.TrainState.create(
        apply_fn=module.apply, params=params, tx=optax.adam(0.1)
    )
    result = through_json({"s": state}, {})["s"].apply_gradients(grads=params)
    assert_equal_trees(result.params, state.apply_gradients(grads=params).params)
    inputs = jnp.ones((1, 2))
    outputs = [s.apply_fn({"params": params}, inputs) for s in (result, state)]
    np.testing.assert_array_equal(*outputs)


def test_functions_and_types_of_jax_come_back():
    state = [jnp.tanh, jnp.add, jax.nn.relu, jnp.float32, optax.adam]
    state += [jnp.dtype(jnp.bfloat16), jax.sharding.PartitionSpec("batch", None)]
    assert through_json(state, None) == state


def test_a_compiled_function_comes_from_the_template_only():
    def times(factor):
        return jax.jit(lambda x: factor * x)

    arrays, rest = to_leaves({"f": times(3)})
    assert "f" in rest["needs"]
    assert from_leaves({"f": times(3)}, arrays, rest)["f"](2) == 6
    with pytest.raises(BadCheckpoint, match=r"'f'.*init_optimizer_state"):
        from_leaves({}, arrays, rest)


def test_an_array_in_two_places_is_saved_once():
    array = jnp.ones(3)
    arrays, rest = to_leaves({"a": array, "b": [array]})
    assert set(arrays) == {"a"}
    result = from_leaves(None, arrays, rest)
    assert result["a"] is result["b"][0]


LEAVES = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.none(),
    st.builds(
        lambda shape, dtype: jnp.ones(shape, dtype),
        st.lists(st.integers(0, 2), max_size=2),
        st.sampled_from(["float32", "bfloat16", "int32"]),
    ),
    st.builds(jax.random.key, st.integers(0, 9)),
)


def containers(children):
    return st.one_of(
        st.lists(children, max_size=2),
        st.lists(children, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from("abc"), children, max_size=2),
        st.builds(Pair, children, children),
        st.builds(Running, children, children),
        st.builds(Own, children, st.integers()),
        st.builds(Struct, children, st.integers()),
        st.builds(lambda x: jax.tree_util.Partial(max, x), children),
    )


STATES = st.recursive(LEAVES, containers, max_leaves=6)


@settings(max_examples=50, deadline=None)
@given(STATES, STATES)
def test_any_state_comes_back_whatever_the_template_is(state, fresh):
    assert_equal_trees(through_json(state, fresh), state)


ON_FOUR_DEVICES = """
import jax, json, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
from algoperf.jax_backend.leaves import from_leaves, to_leaves
line, square = jax.make_mesh((4,), ("batch",)), jax.make_mesh((2, 2), ("a", "b"))
state = {
    "rows": jax.device_put(jnp.arange(8.0), NamedSharding(line, P("batch"))),
    "all": jax.device_put(jnp.arange(2.0), NamedSharding(line, P())),
    "both": jax.device_put(jnp.ones((4, 4)), NamedSharding(square, P(("a", "b"), None))),
    "one": jax.device_put(jnp.ones(2), jax.devices()[2]),
    "keys": jax.device_put(jax.random.split(jax.random.key(0), 4), NamedSharding(line, P("batch"))),
}
arrays, rest = to_leaves(state)
for fresh in ({}, {"rows": jnp.zeros(3), "one": jnp.zeros(2)}):
    result = from_leaves(fresh, arrays, json.loads(json.dumps(rest)))
    for name, array in state.items():
        assert result[name].sharding == array.sharding, name
        assert (result[name] == array).all(), name
print(json.dumps([rest, {k: v.tolist() for k, v in arrays.items()}]))
"""


def test_divided_arrays_are_divided_again_or_refused():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    done = subprocess.run(
        [sys.executable, "-c", ON_FOUR_DEVICES],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    rest, lists = json.loads(done.stdout)
    arrays = {name: np.array(values, np.float32) for name, values in lists.items()}
    with pytest.raises(BadCheckpoint, match=r"'rows' was divided over devices"):
        from_leaves({}, arrays, rest)  # with one device
