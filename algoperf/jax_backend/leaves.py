"""`algoperf.leaves` for JAX: arrays with their types, placements and keys.

| object | saved as |
| --- | --- |
| arrays | array; weak type and placement too |
| typed keys | their data, and the name of their algorithm |
| meshes, devices, primitives | nothing: the template has them |
| shardings | mesh by devices and axes, and the partition |

All else, registered pytrees included, is saved by its attributes.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from algoperf.backend import Arrays
from algoperf.errors import BadCheckpoint
from algoperf.jax_backend import sharding as placements
from algoperf.leaves import Node, Reader, Writer
from algoperf.leaves.writer import is_a

# What belongs to a process of JAX: another one has its own.
_OF_PROCESS = (Mesh, jax.Device, jax.sharding.Sharding, jax.extend.core.Primitive)


def to_leaves(tree: object) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by path, and the structure as JSON: a copy, which no later step changes.

    `BadCheckpoint` for what cannot be saved, or an array that was donated away.
    """
    return JaxWriter().leaves(tree)


def from_leaves(template: object, arrays: Arrays, rest: Mapping[str, Any]) -> object:
    """What `to_leaves` saved, on the devices where it was.

    Where these devices are not there, on those of the template's array in that place.
    """
    return JaxReader(arrays).state(rest, template)


class JaxWriter(Writer):
    """Takes apart a state of JAX."""

    def __init__(self) -> None:
        super().__init__()
        self._on_device: dict[str, jax.Array] = {}

    def special(self, value: Any, path: str) -> Node | None:
        """See `Writer.special`."""
        if isinstance(value, jax.core.Tracer):
            raise self.refusal(value, path, "it is a tracer that leaked from a trace")
        if isinstance(value, jax.Array):
            return self._array(value, path)
        if is_a(value, np.dtype):
            return {"is": "dtype", "name": np.dtype(value).name}
        if is_a(value, NamedSharding, SingleDeviceSharding):
            return {"is": "sharding", "where": _where(value)}
        if is_a(value, PartitionSpec):
            return {"is": "partition", "items": _axes(value)}
        if is_a(value, type(_trace())):
            return {"is": "trace"}
        if is_a(value, *_OF_PROCESS):
            return self.constant(value, path)
        return None

    def _array(self, value: jax.Array, path: str) -> Node:
        if value.is_deleted():
            raise BadCheckpoint(
                f"The array at {path!r} was donated to a compiled function and no longer "
                "exists. Return the arrays that the function gave back instead."
            )
        name = self.add_array(path, lambda: np.empty(0))
        node: Node = {"is": "jax", "array": name}
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            node["key"] = str(jax.random.key_impl(value))
            value = jax.random.key_data(value)
        elif value.weak_type:
            node["weak"] = True
        if value.committed:
            node["where"] = _where(value.sharding)
        self._on_device[name] = value
        return node

    def finish(self) -> None:
        """See `Writer.finish`; fetches all arrays at once."""
        kept = {k: v for k, v in self._on_device.items() if k in self.arrays}
        fetched = jax.device_get(kept)
        self.arrays.update({k: np.array(v) for k, v in fetched.items()})
        super().finish()


class JaxReader(Reader):
    """Puts a state of JAX together."""

    def __init__(self, arrays: Arrays) -> None:
        super().__init__(arrays)
        self._kinds |= {
            "jax": self._array,
            "dtype": lambda node, *_: jnp.dtype(node["name"]),
            "partition": lambda node, *_: _partition(node["items"]),
            "sharding": self._sharding,
            "trace": lambda *_: _trace(),
        }

    def _array(self, node: Node, template: object, path: str) -> jax.Array:
        saved = np.array(self.array(node["array"], path))
        value: Any = saved
        if node.get("weak"):  # it decides to which dtype later arithmetic promotes
            empty = jnp.full(saved.shape, saved.dtype.type(0).item())
            value = empty.at[...].set(saved)
        if "where" in node:
            place = self._placement(node, template, path)
            value = jax.device_put(value, place, may_alias=False)
        else:
            value = value if node.get("weak") else jnp.array(saved)
        if value.dtype != saved.dtype:
            raise BadCheckpoint(
                f"The checkpoint has {saved.dtype} at {path!r}, which JAX makes "
                f"{value.dtype} here. Resume with the same jax_enable_x64."
            )
        array: jax.Array = value
        if "key" in node:
            array = jax.random.wrap_key_data(value, impl=node["key"])
        return array

    def _placement(
        self, node: Node, template: object, path: str
    ) -> jax.sharding.Sharding:
        found = _sharding_of(node["where"])
        if found is not None:
            return found
        if isinstance(template, jax.Array) and template.committed:
            return template.sharding
        if not any(node["where"].get("axes") or ()):
            return placements.get_replicate_sharding()
        raise self._elsewhere(path)

    def _sharding(
        self, node: Node, template: object, path: str
    ) -> jax.sharding.Sharding:
        found = _sharding_of(node["where"])
        if found is None:
            raise self._elsewhere(path)
        return found

    def _elsewhere(self, path: str) -> BadCheckpoint:
        return BadCheckpoint(
            f"{path!r} was divided over devices that are not here. Resume on as many "
            "devices of the same kind."
        )


def _trace() -> object:
    """That nothing is being traced, as objects of Flax NNX note it."""
    return jax.extend.core.get_opaque_trace_state(convention="nnx")


def _where(sharding: jax.sharding.Sharding) -> dict[str, Any]:
    """A placement in JSON: devices by number."""
    where: dict[str, Any] = {"memory": sharding.memory_kind}
    if is_a(sharding, SingleDeviceSharding):
        device: Any = next(iter(sharding.device_set))
        return where | {"devices": [device.id], "platform": device.platform}
    if not is_a(sharding, NamedSharding):
        return where | {"devices": [], "platform": type(sharding).__name__}
    mesh = sharding.mesh  # type: ignore[attr-defined]
    devices = list(mesh.devices.flat)
    return where | {
        "devices": [device.id for device in devices],
        "platform": devices[0].platform,
        "shape": list(mesh.devices.shape),
        "names": list(mesh.axis_names),
        "types": [kind.name for kind in mesh.axis_types],
        "axes": _axes(sharding.spec),  # type: ignore[attr-defined]
    }


def _axes(spec: PartitionSpec) -> list[Any]:
    return [list(axes) if isinstance(axes, tuple) else axes for axes in spec]


def _partition(axes: list[Any]) -> PartitionSpec:
    return PartitionSpec(*(tuple(a) if isinstance(a, list) else a for a in axes))


def _sharding_of(where: Mapping[str, Any]) -> jax.sharding.Sharding | None:
    """The placement; None where its devices are not here."""
    here = {(d.platform, d.id): d for d in jax.local_devices()}
    devices = [here.get((where["platform"], number)) for number in where["devices"]]
    if not devices or None in devices:
        return None
    if "shape" not in where:
        return SingleDeviceSharding(devices[0], memory_kind=where["memory"])
    kinds = tuple(jax.sharding.AxisType[name] for name in where["types"])
    array = np.array(devices, object).reshape(where["shape"])
    mesh = Mesh(array, tuple(where["names"]), axis_types=kinds)
    if mesh == placements.get_mesh():
        mesh = placements.get_mesh()
    return NamedSharding(mesh, _partition(where["axes"]), memory_kind=where["memory"])
