"""Derivatives of JAX functions in ways that hand-written gradients allow too.

A function whose backward pass was written by hand (`jax.custom_vjp`) has no forward mode.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# What differentiating raises where a function has no derivative of that kind.
NO_DERIVATIVE = (TypeError, NotImplementedError, ValueError)
_HIGHEST = jax.lax.Precision.HIGHEST


def forward_over_reverse(mean: Callable[[Any], Any], values: Any, vector: Any) -> Any:
    """The Hessian of a scalar function times a vector."""
    return jax.jvp(jax.grad(mean), (values,), (vector,))[1]


def reverse_over_reverse(mean: Callable[[Any], Any], values: Any, vector: Any) -> Any:
    """The same without forward mode."""

    def slope(values: Any) -> Any:
        grads = jax.grad(mean)(values)
        return sum(jnp.vdot(grads[name], vector[name]) for name in grads)

    return jax.grad(slope)(values)


def transposed(backward: Any, outputs: Any, direction: Any) -> Any:
    """The directional derivative by the backward pass alone.

    That pass is linear in its argument; its transpose is the forward derivative.
    """
    zeros = jax.tree.map(jnp.zeros_like, outputs)
    _, transpose = jax.vjp(lambda w: backward(w)[0], zeros)
    return transpose(direction)[0]


def wide(x: jax.Array) -> jax.Array:
    wide: jax.Array = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return wide


def reduced(
    losses: Any,
    grads: Any,
    weights: Any,
    directions: Any,
    *,
    squares: bool,
    keep: bool,
) -> dict[str, Any]:
    """The fields of a `Chunk`; grads: [chunk, *shape] by name, weights: [chunk]."""
    grads = {
        name: wide(g) * weights.reshape(-1, *(1,) * (g.ndim - 1))
        for name, g in grads.items()
    }
    flat = {name: g.reshape(g.shape[0], -1) for name, g in grads.items()}
    products = [
        sum(jnp.matmul(flat[n], d[n].ravel(), precision=_HIGHEST) for n in flat)
        for d in directions
    ]
    return {
        "losses": losses * weights,
        "squared_norms": sum(jnp.square(g).sum(1) for g in flat.values()),
        "products": jnp.stack(products, 1) if products else jnp.zeros((len(losses), 0)),
        "total": {name: g.sum(0) for name, g in grads.items()},
        "squares": {n: jnp.square(g).sum(0) for n, g in grads.items()}
        if squares
        else None,
        "gradients": grads if keep else None,
    }
