"""Initial values of kernels, and the term of the loss that they are in, in JAX."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from .architectures import Draw

_DRAWS = {
    "glorot_uniform": nn.initializers.glorot_uniform(),
    "glorot_normal": nn.initializers.glorot_normal(),
    "zeros": nn.initializers.zeros_init(),
}


def initializer(draw: Draw) -> Any:
    """Flax's initializer of that distribution."""
    if draw.kind == "truncated_normal":
        return nn.initializers.truncated_normal(draw.stddev)
    return _DRAWS[draw.kind]


def squared(params: Any, l2: float, *, on_dense: bool = True) -> jax.Array | None:
    """Half of `l2` times the sum of squares of all kernels; None where `l2` is 0."""
    if not l2:
        return None
    kernels = (
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key == "kernel" and (on_dense or leaf.ndim == 4)
    )
    total: jax.Array = sum(jnp.sum(kernel**2) for kernel in kernels)  # type: ignore[assignment]
    return 0.5 * l2 * total
