"""Checkpoint leaves: any JAX state as arrays by path plus JSON values, and back.

The structure is not saved. It comes from a template: the same state, freshly made.
Paths are written like Python accesses (`['params'][0].count`), so that no two leaves
share one.

| leaf | saved as |
| --- | --- |
| JAX and numpy arrays, numpy scalars (any dtype, bfloat16 too) | array |
| typed PRNG key arrays | array of their key data, and the name of their algorithm |
| None, bool, int, float, str, enum members | JSON value |
| callables, dtypes, meshes, shardings, `ShapeTuple` | nothing: the template has them |
| anything else | refused, because it would be lost |
"""

import enum
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from algoperf.errors import BadCheckpoint
from algoperf.spec import ShapeTuple

Arrays = Mapping[str, np.ndarray]
Rebuild = Callable[[list[Any]], Any]

_JSON_TYPES = (type(None), bool, int, float, str)
_CONSTANTS = (np.dtype, jax.sharding.Mesh, jax.sharding.Sharding, ShapeTuple)


def to_leaves(tree: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by path, and what is not (or not only) an array as JSON values by path.

    `BadCheckpoint` for a leaf that cannot be saved, or an array that was donated away.
    """
    on_device: dict[str, jax.Array] = {}
    arrays: dict[str, np.ndarray] = {}
    rest: dict[str, Any] = {}
    for path, leaf in _walk(tree):
        if isinstance(leaf, jax.Array):
            on_device[path], note = _key_data_or_array(path, leaf)
            rest.update({path: note} if note else {})
        elif isinstance(leaf, np.ndarray | np.generic) and leaf.dtype != object:
            arrays[path] = np.asarray(leaf)
            rest[path] = {
                "numpy": "array" if isinstance(leaf, np.ndarray) else "scalar"
            }
        elif not _is_constant(leaf):
            rest[path] = _to_json(path, leaf)
    arrays.update(jax.device_get(on_device))
    return arrays, rest


def from_leaves(template: Any, arrays: Arrays, rest: Mapping[str, Any]) -> Any:
    """The template's structure with the saved leaves, on the template's devices.

    Arrays take the sharding of the template's leaf. What was an array in one and a
    Python scalar or None in the other (a counter before its first step) comes back as
    it was saved. `BadCheckpoint` names the path of a missing or extra leaf, another
    shape or dtype.
    """
    _check_paths(template, {*arrays, *rest})
    return _rebuild(template, "", lambda path, leaf: _restore(path, leaf, arrays, rest))


def _children(node: Any) -> tuple[list[tuple[str, Any]], Rebuild] | None:
    """The parts of a tree node, by the end of their paths; None for a leaf."""
    if type(node) is dict:  # JAX cannot flatten dicts whose keys do not sort
        keys = list(node)
        children = [(f"[{key!r}]", node[key]) for key in keys]
        return children, lambda values: dict(zip(keys, values, strict=True))
    if node is None or isinstance(node, jax.Array):
        return None
    found, structure = jax.tree_util.tree_flatten_with_path(
        node, is_leaf=lambda other: other is not node
    )
    if any(not path for path, _ in found):
        return None
    named = [(jax.tree_util.keystr(path), child) for path, child in found]
    return named, lambda values: jax.tree.unflatten(structure, values)


def _walk(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its path."""
    parts = _children(tree)
    if parts is None:
        yield path or ".", tree
        return
    for end, child in parts[0]:
        yield from _walk(child, path + end)


def _rebuild(tree: Any, path: str, restore: Callable[[str, Any], Any]) -> Any:
    parts = _children(tree)
    if parts is None:
        return restore(path or ".", tree)
    children, rebuild = parts
    return rebuild([_rebuild(child, path + end, restore) for end, child in children])


def _is_constant(leaf: Any) -> bool:
    """Whether a fresh template has the same leaf, so that it need not be saved."""
    return callable(leaf) or isinstance(leaf, _CONSTANTS)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data_or_array(
    path: str, leaf: jax.Array
) -> tuple[jax.Array, dict[str, Any] | None]:
    """What to save of a JAX array, and the note that it needs."""
    if leaf.is_deleted():
        raise BadCheckpoint(
            f"The array at {path} was donated to a compiled function and no longer "
            "exists. Return the arrays that the function gave back instead."
        )
    if _is_key(leaf):
        return jax.random.key_data(leaf), {"key": str(jax.random.key_impl(leaf))}
    return leaf, {"weak_type": True} if leaf.weak_type else None


def _to_json(path: str, leaf: Any) -> dict[str, Any]:
    if isinstance(leaf, enum.Enum):
        return {"enum": leaf.name}
    if type(leaf) not in _JSON_TYPES:
        raise BadCheckpoint(
            f"The object of type {type(leaf).__name__} at {path} cannot be saved. Use "
            "arrays, numbers, strings, None, or containers that JAX knows as pytrees "
            "(register a class of your own with jax.tree_util.register_dataclass)."
        )
    if isinstance(leaf, float) and not math.isfinite(leaf):
        return {"float": str(leaf)}  # JSON has no NaN and no infinity
    return {"value": leaf}


def _from_json(path: str, leaf: Any, note: Mapping[str, Any]) -> Any:
    if "enum" in note:
        if (
            not isinstance(leaf, enum.Enum)
            or note["enum"] not in type(leaf).__members__
        ):
            raise BadCheckpoint(
                f"The checkpoint has the enum member {note['enum']} at {path}; this "
                f"run has {leaf!r} there. It belongs to another submission or version."
            )
        return type(leaf)[note["enum"]]
    return float(note["float"]) if "float" in note else note["value"]


def _check_paths(template: Any, saved: set[str]) -> None:
    expected = {path for path, leaf in _walk(template) if not _is_constant(leaf)}
    for paths, what in ((expected - saved, "lacks"), (saved - expected, "has extra")):
        if paths:
            first, more = min(paths), len(paths) - 1
            raise BadCheckpoint(
                f"The checkpoint {what} the leaf {first}"
                + (f" and {more} more" if more else "")
                + ": it was saved from a state of another structure. Resume with the "
                "submission, workload and versions that wrote it."
            )


def _restore(path: str, leaf: Any, arrays: Arrays, rest: Mapping[str, Any]) -> Any:
    if _is_constant(leaf):
        return leaf
    note = rest.get(path, {})
    if path not in arrays:
        _check_alike(path, leaf, (), None)
        return _from_json(path, leaf, note)
    saved = arrays[path]
    if "key" in note:
        return _restore_key(path, leaf, saved, note["key"])
    _check_alike(path, leaf, saved.shape, saved.dtype)
    if "numpy" in note:
        return np.array(saved) if note["numpy"] == "array" else saved[()]
    return _on_devices(leaf, saved, bool(note.get("weak_type")))


def _restore_key(path: str, leaf: Any, saved: np.ndarray, algorithm: str) -> jax.Array:
    is_key = isinstance(leaf, jax.Array) and _is_key(leaf)
    impl = str(jax.random.key_impl(leaf)) if is_key else "no key"
    if impl != algorithm:
        raise BadCheckpoint(
            f"The checkpoint has a {algorithm} key at {path}; this run has {impl} "
            "there. Resume with the random number generator that wrote it."
        )
    data = jax.random.key_data(leaf)
    _check_alike(path, data, saved.shape, saved.dtype)
    return jax.random.wrap_key_data(_on_devices(data, saved, False), impl=algorithm)


def _check_alike(path: str, leaf: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Refuses another shape or dtype (None: a JSON value) than the template's leaf."""
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        return
    same_dtype = dtype is None or np.dtype(dtype) == leaf.dtype
    if shape == leaf.shape and same_dtype:
        return
    raise BadCheckpoint(
        f"The checkpoint has {dtype or 'a single value'} {list(shape)} at {path}; this "
        f"run has {leaf.dtype} {list(leaf.shape)}. Resume with the submission, "
        "workload and versions that wrote it."
    )


def _on_devices(leaf: Any, saved: np.ndarray, weak_type: bool) -> jax.Array:
    """`saved` placed like `leaf`; without a device of its own if `leaf` has none."""
    array: Any = saved
    if weak_type:  # kept, because it decides to which dtype later arithmetic promotes
        array = jnp.full(saved.shape, saved.dtype.type(0).item()).at[...].set(saved)
    if isinstance(leaf, jax.Array) and leaf.committed:
        return jax.device_put(array, leaf.sharding, may_alias=False)
    return jnp.array(array) if not weak_type else array
