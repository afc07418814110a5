"""Single-worker DiLoCo in JAX, which optax does not have. See README.md."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission


class OuterState(NamedTuple):
    """The inner rule's state, and the outer one's: trees like the parameters."""

    inner: Any
    num_updates: jax.Array  # int32
    slow: Any
    momentum: Any


def with_outer_steps(
    inner: optax.GradientTransformation, period: int, rate: float, momentum: float
) -> optax.GradientTransformation:
    """Every `period` updates, a step of Nesterov momentum along what they added up to."""

    def init(params: Any) -> OuterState:
        zeros = optax.tree_utils.tree_zeros_like(params)
        slow = jax.tree.map(jnp.copy, params)
        return OuterState(inner.init(params), jnp.zeros((), jnp.int32), slow, zeros)

    def outer_step(params: Any, state: OuterState) -> tuple[Any, Any, Any]:
        change = jax.tree.map(lambda slow, p: slow - p, state.slow, params)
        buffers = jax.tree.map(lambda b, d: momentum * b + d, state.momentum, change)
        slow = jax.tree.map(
            lambda s, d, b: s - rate * (d + momentum * b), state.slow, change, buffers
        )
        return slow, slow, buffers

    def update(grads: Any, state: OuterState, params: Any) -> tuple[Any, OuterState]:
        updates, inner_state = inner.update(grads, state.inner, params)
        num_updates = optax.safe_int32_increment(state.num_updates)
        target, slow, buffers = jax.lax.cond(
            num_updates % period == 0,
            outer_step,
            lambda moved, state: (moved, state.slow, state.momentum),
            optax.apply_updates(params, updates),
            state,
        )
        updates = jax.tree.map(lambda new, old: new - old, target, params)
        return updates, OuterState(inner_state, num_updates, slow, buffers)

    return optax.GradientTransformation(init, update)


def diloco(setup: Setup) -> optax.GradientTransformation:
    """AdamW inside; warm-up and cosine decay to 0."""
    return with_outer_steps(
        optax.adamw(setup.rate, **setup.adam),
        period=int(setup.point.outer_period),
        rate=setup.point.outer_learning_rate,
        momentum=setup.point.outer_momentum,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(diloco)
