"""Batch norm over virtual batches of the global batch, whatever the devices."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from algoperf.jax_backend.layers import (
    Initializer,
    at_least_float32,
    compute_dtype,
    typed,
)
from algoperf.spec import ParameterType


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(variance + epsilon) * (scale_offset + scale) + bias.

    In training, statistics are those of the example's virtual batch: the global batch
    in the fewest consecutive parts, as equal as can be, of at most `virtual_batch_size`
    examples (the paper's ghost batch norm); None: the global batch. Variances are
    biased. Running statistics (`batch_stats`: `mean`, `var`) move by 1 - momentum
    towards the mean over the virtual batches. All statistics are float32.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    virtual_batch_size: int | None = None
    scale_init: Initializer = nn.initializers.ones_init()
    bias_init: Initializer = nn.initializers.zeros_init()
    scale_offset: float = 0.0

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
    ) -> jax.Array:
        """x: [batch, ..., features]; same shape out.

        mask: [batch, ...], 1 where x counts in the statistics, 0 where it is padding
        (which is normalised all the same).
        """
        shape = (x.shape[-1],)
        scale = self.param(
            "scale", typed(self.scale_init, ParameterType.BATCH_NORM_SCALE), shape
        )
        bias = self.param(
            "bias", typed(self.bias_init, ParameterType.BATCH_NORM_BIAS), shape
        )
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        wide = at_least_float32(x)
        if train:
            parts = _VirtualBatches(x.shape[0], self.virtual_batch_size)
            mean, var = parts.statistics(wide, mask)
            if self.is_mutable_collection("batch_stats"):
                running_mean.value = self._moved(running_mean.value, mean)
                running_var.value = self._moved(running_var.value, var)
            mean, var = (parts.per_example(s, x.ndim) for s in (mean, var))
        else:
            mean, var = running_mean.value, running_var.value
        factor = jax.lax.rsqrt(var + self.epsilon) * (self.scale_offset + scale)
        x = ((wide - mean) * factor + bias).astype(compute_dtype() or wide.dtype)
        return x

    def _moved(self, running: jax.Array, statistics: jax.Array) -> jax.Array:
        """The running value after a step; statistics: [virtual batches, features]."""
        target = jax.lax.stop_gradient(statistics.mean(0))
        return self.momentum * running + (1 - self.momentum) * target


class _VirtualBatches:
    """A batch in consecutive parts, as a one-hot matrix [batch, parts] (None: one part)."""

    def __init__(self, batch_size: int, largest: int | None) -> None:
        number = 1 if largest is None else -(-batch_size // largest)
        self._members: Any = None
        if number > 1:
            part = jnp.arange(batch_size) * number // batch_size
            self._members = jax.nn.one_hot(part, number, dtype=jnp.float32)

    def statistics(
        self, x: jax.Array, mask: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and biased variance, [parts, features] each."""
        weights = None
        if mask is None:
            examples = self._summed(jnp.ones((x.shape[0], 1), jnp.float32))
            count = examples * x[0, ..., 0].size
        else:
            weights = mask.astype(jnp.float32)[..., None]
            count = jnp.maximum(self._summed(_over_space(weights)), 1)
        mean = self._summed(_over_space(_weighted(x, weights))) / count
        deviation = jnp.square(x - self.per_example(mean, x.ndim))
        return mean, self._summed(_over_space(_weighted(deviation, weights))) / count

    def per_example(self, statistics: jax.Array, ndim: int) -> jax.Array:
        """[parts, features] -> [batch or 1, 1, ..., features], for arrays of `ndim`."""
        if self._members is not None:
            statistics = _product("bp,pf->bf", self._members, statistics)
        number, features = statistics.shape
        return statistics.reshape(number, *(1,) * (ndim - 2), features)

    def _summed(self, x: jax.Array) -> jax.Array:
        """[batch, features] -> sums over each part, [parts, features]."""
        if self._members is None:
            return x.sum(0, keepdims=True)
        return _product("bp,bf->pf", self._members, x)


def _weighted(x: jax.Array, weights: Any) -> jax.Array:
    return x if weights is None else x * weights


def _over_space(x: jax.Array) -> jax.Array:
    """Sums over all axes but the first and the last."""
    return x.sum(tuple(range(1, x.ndim - 1)))


def _product(axes: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """A small product in full float32, also where matrices are multiplied in TF32."""
    return jnp.einsum(axes, a, b, precision=jax.lax.Precision.HIGHEST)
