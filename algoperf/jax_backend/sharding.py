"""The mesh of all local devices and the two placements that data parallelism needs.

One process, one axis named `batch`. Nothing here looks for devices before it is called.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from algoperf.errors import BadSettings

BATCH_AXIS = "batch"


@functools.cache
def get_mesh() -> Mesh:
    """All local devices along one axis named `batch`."""
    devices = jax.local_devices()
    return jax.make_mesh(
        (len(devices),), (BATCH_AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )


def get_replicate_sharding() -> NamedSharding:
    """A copy of the whole array on every device."""
    return NamedSharding(get_mesh(), PartitionSpec())


def get_batch_dim_sharding() -> NamedSharding:
    """The first axis cut into equal parts, one for each device."""
    return NamedSharding(get_mesh(), PartitionSpec(BATCH_AXIS))


def replicate(x: object) -> Any:
    """The pytree `x` with a copy of every array on every device."""
    return jax.device_put(x, get_replicate_sharding())


def shard_along_batch_dim(x: object) -> Any:
    """The pytree `x` with the first axis of every array cut over the devices.

    Scalars are replicated. A first axis that the number of devices does not divide is a
    `BadSettings` that names the array. May be called from any thread.
    """
    shardings = jax.tree_util.tree_map_with_path(_placement, x)
    return jax.device_put(x, shardings)


def over_devices(
    function: Callable[[Any, Any], Any], variables: object, batch: object
) -> object:
    """`function(variables, part)` for each device's part of the batch, results joined.

    The devices work independently: one that is done does not wait for the others.
    """
    split = jax.shard_map(
        function,
        mesh=get_mesh(),
        in_specs=(PartitionSpec(), PartitionSpec(BATCH_AXIS)),
        out_specs=PartitionSpec(BATCH_AXIS),
        check_vma=False,
    )
    return split(variables, batch)


def _placement(path: Any, leaf: Any) -> NamedSharding:
    shape = np.shape(leaf)
    if not shape:
        return get_replicate_sharding()
    num_devices = get_mesh().size
    if shape[0] % num_devices:
        raise BadSettings(
            f"The batch's array {jax.tree_util.keystr(path) or 'itself'} has "
            f"{shape[0]} rows, which cannot be cut into equal parts for {num_devices} "
            f"devices. Choose a batch size that is a multiple of {num_devices}."
        )
    return get_batch_dim_sharding()
