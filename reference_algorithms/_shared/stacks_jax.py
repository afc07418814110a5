"""Stacks of equal matrices, spread over the devices of the mesh.

Work on matrices (orthogonalising, roots) is the same on every device where parameters
are replicated. Stacked along a first axis that is cut over the devices, each does its
share.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from algoperf.jax_sharding_utils import (
    get_batch_dim_sharding,
    get_mesh,
    get_replicate_sharding,
)


def padded_length(count: int) -> int:
    """The smallest multiple of the number of devices that is not below `count`."""
    return -(-count // get_mesh().size) * get_mesh().size


def stack(arrays: Sequence[jax.Array]) -> jax.Array:
    """[padded_length(len(arrays)), ...]: the arrays, then zeros; cut over devices."""
    padding = padded_length(len(arrays)) - len(arrays)
    stacked = jnp.stack([*arrays, *[jnp.zeros_like(arrays[0])] * padding])
    placed: jax.Array
    placed = jax.lax.with_sharding_constraint(stacked, get_batch_dim_sharding())
    return placed


def unstack(stacked: jax.Array, count: int) -> list[jax.Array]:
    """The first `count` arrays of a stack, each replicated."""
    whole = jax.lax.with_sharding_constraint(stacked, get_replicate_sharding())
    return [whole[i] for i in range(count)]


def after(first: jax.Array, x: jax.Array) -> jax.Array:
    """`x`, which cannot be used before `first` is known.

    For decompositions on CPUs, of which only one may run at a time (jaxlib 0.10). A
    barrier would not do: XLA removes it before it orders what it executes.
    """
    return x + 0.0 * jnp.nan_to_num(first.sum())
