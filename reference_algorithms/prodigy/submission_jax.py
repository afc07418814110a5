"""Prodigy in JAX: the published rule, not optax.contrib's. See README.md."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission
from algoperf.reference_algorithms.prodigy.constants import (
    INITIAL_DISTANCE,
    distance_beta,
    point,
)


class ProdigyState(NamedTuple):
    """Trees like the parameters, and scalars."""

    num_updates: jax.Array  # int32
    first: Any
    second: Any
    gradient_sum: Any  # weighted
    start: Any  # the initial parameters
    numerator: jax.Array
    distance: jax.Array  # d, which scales the rate


def prodigy(
    learning_rate: optax.Schedule, b1: float, b2: float, eps: float, weight_decay: float
) -> optax.GradientTransformation:
    """Adam at a rate that it estimates; `learning_rate` is a factor, at most 1."""

    def init(params: Any) -> ProdigyState:
        zeros = optax.tree_utils.tree_zeros_like
        return ProdigyState(
            num_updates=jnp.zeros((), jnp.int32),
            first=zeros(params),
            second=zeros(params),
            gradient_sum=zeros(params),
            start=jax.tree.map(jnp.copy, params),
            numerator=jnp.zeros(()),
            distance=jnp.asarray(INITIAL_DISTANCE, jnp.float32),
        )

    def update(grads: Any, state: ProdigyState, params: Any) -> Any:
        d, rate = state.distance, learning_rate(state.num_updates)
        scaled = jax.tree.map(lambda g: d * g, grads)
        first = optax.update_moment(scaled, state.first, b1, 1)
        second = optax.update_moment(scaled, state.second, b2, 2)
        gradient_sum, numerator = _sums(scaled, state, params, rate, distance_beta(b2))
        updates = jax.tree.map(
            lambda m, v, p: (
                -rate * d * (m / (jnp.sqrt(v) + d * eps) + weight_decay * p)
            ),
            first,
            second,
            params,
        )
        new = ProdigyState(
            num_updates=optax.safe_int32_increment(state.num_updates),
            first=first,
            second=second,
            gradient_sum=gradient_sum,
            start=state.start,
            numerator=numerator,
            distance=_new_distance(d, gradient_sum, numerator),
        )
        return updates, new

    return optax.GradientTransformation(init, update)


def _sums(
    scaled: Any, state: ProdigyState, params: Any, rate: Any, beta: float
) -> tuple[Any, jax.Array]:
    """Gradients, and how far they point away from the start, added to the old sums.

    Both over `INITIAL_DISTANCE`, so that neither is too small for float32.
    """
    weight = rate * state.distance / INITIAL_DISTANCE
    gradient_sum = jax.tree.map(
        lambda s, g: beta * s + weight * g, state.gradient_sum, scaled
    )
    way = jax.tree.map(jnp.subtract, state.start, params)
    products = jax.tree.map(lambda g, w: (g * w).sum(), scaled, way)
    along = sum(jax.tree.leaves(products))
    return gradient_sum, beta * state.numerator + weight * along


def _new_distance(old: jax.Array, gradient_sum: Any, numerator: jax.Array) -> jax.Array:
    """Never smaller; the old one as long as every rate was 0."""
    size = sum(jnp.abs(x).sum() for x in jax.tree.leaves(gradient_sum))
    estimate = numerator / jnp.where(size > 0, size, 1.0)
    return jnp.maximum(old, estimate)


def rule(setup: Setup) -> optax.GradientTransformation:
    """Prodigy; the factory's schedule is warm-up and cosine decay to 0."""
    return prodigy(setup.rate, **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    rule, point=point
)
