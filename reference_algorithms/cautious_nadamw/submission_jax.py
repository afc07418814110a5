"""Cautious NadamW in JAX, which optax does not have. See README.md."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission
from algoperf.reference_algorithms._shared.nadamw_jax import scale_by_nadam
from algoperf.reference_algorithms.cautious_nadamw.caution import (
    SMALLEST_SHARE,
    has_cautious_decay,
)


def cautious(rule: optax.GradientTransformation) -> optax.GradientTransformation:
    """The rule's direction where its sign is the gradient's, scaled up for the rest."""

    def mask(direction: jax.Array, grad: jax.Array) -> jax.Array:
        agrees = (direction * grad > 0).astype(grad.dtype)
        return direction * agrees / jnp.maximum(agrees.mean(), SMALLEST_SHARE)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        directions, state = rule.update(grads, state, params)
        return jax.tree.map(mask, directions, grads), state

    return optax.GradientTransformation(rule.init, update)


def cautious_decay(weight_decay: float) -> optax.GradientTransformation:
    """Weight decay of those elements which the update does not push away from 0."""

    def decay(direction: jax.Array, param: jax.Array) -> jax.Array:
        return direction + jnp.where(direction * param >= 0, weight_decay * param, 0.0)

    return optax.stateless(
        lambda directions, params: jax.tree.map(decay, directions, params)
    )


def cautious_nadamw(setup: Setup) -> optax.GradientTransformation:
    """Cautious NadamW; the factory's schedule is warm-up and cosine decay to 0."""
    settings = setup.adam
    weight_decay = settings.pop("weight_decay")
    decay = optax.add_decayed_weights(weight_decay)
    if has_cautious_decay(setup.point):
        decay = cautious_decay(weight_decay)
    return optax.chain(
        cautious(scale_by_nadam(**settings)),
        decay,
        optax.scale_by_learning_rate(setup.rate),
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    cautious_nadamw
)
