"""The output layer of language models in JAX: logits, at once or deferred."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from algoperf.deferred_logits import DeferredLogits
from algoperf.jax_backend.layers import at_least_float32, compute_dtype, wide_dtype


def logits(hidden: jax.Array, table: jax.Array) -> Any:
    """hidden [batch, length, width] times table [classes, width], float32 or wider.

    [batch, length, classes]: an array, or `DeferredLogits` where it would be large.
    """
    dtype = compute_dtype() or hidden.dtype
    hidden, table = hidden.astype(dtype), table.astype(dtype)
    deferred = JaxDeferredLogits(hidden, table)
    return deferred.compute() if deferred.num_parts == 1 else deferred


@jax.tree_util.register_pytree_node_class
class JaxDeferredLogits(DeferredLogits):
    """Goes through `jax.jit` as a tree of two arrays; becomes one in `jax.numpy`."""

    def tree_flatten(self) -> tuple[tuple[Any, Any], None]:
        """See `jax.tree_util.register_pytree_node_class`."""
        return (self.hidden, self.table), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> "JaxDeferredLogits":
        """See `tree_flatten`."""
        return cls(*children)

    @property
    def dtype(self) -> Any:
        """Of the logits."""
        return wide_dtype(self.hidden)

    def compute(self) -> jax.Array:
        """See `DeferredLogits.compute`."""
        return _product(self.hidden, self.table)

    def __jax_array__(self) -> jax.Array:
        return self.compute()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.compute(), dtype)


def _product(hidden: jax.Array, table: jax.Array) -> jax.Array:
    product = jnp.einsum("...d,vd->...v", hidden, table)
    return at_least_float32(product)


def by_parts(
    logits: DeferredLogits, loss: Callable[..., jax.Array], *others: jax.Array
) -> jax.Array:
    """`loss(logits, *others)` [batch, length], with one part of the logits at a time.

    others: [batch, length]. A gradient computes each part once more.
    """

    @jax.checkpoint
    def of_part(part: tuple[jax.Array, ...]) -> jax.Array:
        hidden, *rest = part
        return loss(_product(hidden, logits.table), *rest)

    # Along the length, because the batch lies on several devices.
    parts = tuple(_cut(x, logits.num_parts) for x in (logits.hidden, *others))
    return jnp.moveaxis(jax.lax.map(of_part, parts), 0, 1).reshape(logits.shape[:2])


def _cut(x: jax.Array, parts: int) -> jax.Array:
    """[batch, length, ...] -> [parts, batch, length / parts, ...]."""
    batch, length, *rest = x.shape
    return jnp.moveaxis(x.reshape(batch, parts, length // parts, *rest), 1, 0)
