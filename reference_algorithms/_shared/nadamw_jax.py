"""The published NadamW rule in JAX, which is not optax's. See nadamw/README.md."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def scale_by_nadam(
    b1: float | jax.Array, b2: float | jax.Array, eps: float
) -> optax.GradientTransformation:
    """The look-ahead first moment over the root of the second, both bias-corrected.

    Differs from `optax.scale_by_adam(nesterov=True)`, which corrects the first moment
    with step t + 1 and the gradient with t; the published rule corrects their sum
    with t.
    """

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = optax.safe_int32_increment(state.count)
        first = optax.update_moment(grads, state.mu, b1, 1)
        second = optax.update_moment(grads, state.nu, b2, 2)
        ahead = optax.update_moment(grads, first, b1, 1)
        direction = jax.tree.map(
            lambda m, v: m / (jnp.sqrt(v) + eps),
            optax.bias_correction(ahead, b1, count),
            optax.bias_correction(second, b2, count),
        )
        return direction, optax.ScaleByAdamState(count, first, second)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


def nadamw(
    learning_rate: optax.Schedule,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: float,
) -> optax.GradientTransformation:
    """NadamW with decoupled weight decay on all parameters."""
    return optax.chain(
        scale_by_nadam(b1, b2, eps),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
