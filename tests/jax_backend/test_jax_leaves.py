"""Checkpoint leaves: round trips and refusals."""

import dataclasses
import functools
import json
import math
from typing import Any, NamedTuple

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402

from algoperf.errors import BadCheckpoint  # noqa: E402
from algoperf.jax_backend.leaves import from_leaves, to_leaves  # noqa: E402
from algoperf.jax_sharding_utils import replicate  # noqa: E402
from algoperf.spec import ParameterType  # noqa: E402


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


def test_arrays_take_the_placement_of_the_template():
    fresh = {"on_mesh": replicate(jnp.zeros(2)), "anywhere": jnp.zeros(2)}
    result = through_json({"on_mesh": jnp.ones(2), "anywhere": jnp.ones(2)}, fresh)
    assert result["on_mesh"].sharding == fresh["on_mesh"].sharding
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


def test_paths_read_like_python():
    state = {"opt": (Pair(jnp.ones(1), 2),)}
    arrays, rest = to_leaves(state)
    assert set(arrays) == {"['opt'][0].first"}
    assert set(rest) == {"['opt'][0].second"}


BASE = {"a": jnp.ones((2, 3)), "b": 1}


@pytest.mark.parametrize(
    ("fresh", "message"),
    [
        ({**BASE, "c": jnp.ones(1)}, r"lacks the leaf \['c'\]"),
        ({**BASE, "c": 1, "d": 2}, r"lacks the leaf \['c'\] and 1 more"),
        ({"a": BASE["a"]}, r"has extra the leaf \['b'\]"),
        ({**BASE, "a": jnp.ones((3, 2))}, r"float32 \[2, 3\] at \['a'\].*\[3, 2\]"),
        ({**BASE, "a": jnp.ones((2, 3), jnp.bfloat16)}, r"at \['a'\].*bfloat16"),
        ({**BASE, "b": jnp.ones(2)}, r"a single value \[\] at \['b'\]"),
        ({**BASE, "a": jax.random.key(0)}, r"at \['a'\]"),
    ],
)
def test_another_structure_shape_or_dtype_is_refused_by_name(fresh, message):
    arrays, rest = to_leaves(BASE)
    with pytest.raises(BadCheckpoint, match=message):
        from_leaves(fresh, arrays, rest)


def test_a_key_of_another_generator_is_refused():
    arrays, rest = to_leaves({"k": jax.random.key(0)})
    for fresh in (jax.random.key(0, impl="rbg"), jax.random.PRNGKey(0)):
        with pytest.raises(BadCheckpoint, match=r"threefry2x32 key at \['k'\]"):
            from_leaves({"k": fresh}, arrays, rest)


def test_an_object_that_would_be_lost_is_refused_by_name():
    with pytest.raises(BadCheckpoint, match=r"type object at \['x'\].*pytrees"):
        to_leaves({"x": object()})


def test_a_donated_array_is_refused_by_name():
    x = jnp.ones(2)
    x.delete()
    with pytest.raises(BadCheckpoint, match=r"\['x'\] was donated"):
        to_leaves({"x": x})
