"""MARS-AdamW in JAX, which optax does not have. See README.md."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission


class CorrectedState(NamedTuple):
    """The last gradients of rank 2 and above, and whether there are any."""

    last: list[jax.Array]
    is_first: jax.Array  # bool


def corrected(gamma: float, b1: float) -> optax.GradientTransformation:
    """Gradients of rank 2 and above plus a part of their last change, of norm <= 1."""

    def correct(grad: jax.Array, last: jax.Array, is_first: jax.Array) -> jax.Array:
        change = jnp.where(is_first, 0.0, grad - last)
        sum_ = grad + gamma * b1 / (1.0 - b1) * change
        return sum_ / jnp.maximum(1.0, jnp.sqrt(jnp.square(sum_).sum()))

    def init(params: Any) -> CorrectedState:
        zeros = [jnp.zeros_like(x) for x in jax.tree.leaves(params) if x.ndim >= 2]
        return CorrectedState(zeros, jnp.ones((), bool))

    def update(grads: Any, state: CorrectedState, params: Any = None) -> Any:
        del params
        last = iter(state.last)
        new = jax.tree.map(
            lambda g: correct(g, next(last), state.is_first) if g.ndim >= 2 else g,
            grads,
        )
        matrices = [x for x in jax.tree.leaves(grads) if x.ndim >= 2]
        return new, CorrectedState(matrices, jnp.zeros((), bool))

    return optax.GradientTransformation(init, update)


def mars_adamw(setup: Setup) -> optax.GradientTransformation:
    """AdamW on corrected gradients; warm-up and cosine decay to 0."""
    settings = setup.adam
    return optax.chain(
        corrected(setup.point.gamma, settings["b1"]),
        optax.adamw(setup.rate, **settings),
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    mars_adamw
)
