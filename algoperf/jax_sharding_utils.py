"""Data parallelism for JAX submissions: the mesh, its shardings, placing arrays.

The names are part of the published submission API; the mesh has one axis, named
`batch`.
"""

from algoperf.jax_backend.sharding import (
    get_batch_dim_sharding,
    get_mesh,
    get_replicate_sharding,
    replicate,
    shard_along_batch_dim,
)

__all__ = [
    "get_batch_dim_sharding",
    "get_mesh",
    "get_replicate_sharding",
    "replicate",
    "shard_along_batch_dim",
]
