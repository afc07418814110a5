"""The Euclidean norm of a whole tree; optax has had it under three names since 0.2.2."""

from typing import Any

import jax
import jax.numpy as jnp


def global_norm(tree: Any) -> jax.Array:
    """The norm of all leaves as one vector, a float scalar."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))
