"""Adafactor in JAX: the published rule, not optax.adafactor's. See README.md."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission

BETA2 = 0.99
EPSILON = 1e-30  # added to squared gradients
MAX_RMS = 1.0  # of an update, before the rate


class AdafactorState(NamedTuple):
    """One entry of `second_moments` for each parameter, in the order of the leaves.

    It is (row means [..., rows], column means [..., columns]) for rank >= 2, and
    (all,) in the parameter's shape for lower ranks.
    """

    num_updates: jax.Array  # int32
    second_moments: list[tuple[jax.Array, ...]]
    momentum: Any


def adafactor(
    learning_rate: optax.Schedule, b1: float, weight_decay: float
) -> optax.GradientTransformation:
    """Adafactor with momentum on the scaled update, and decoupled weight decay."""

    def init(params: Any) -> AdafactorState:
        second = [_zero_moments(leaf) for leaf in jax.tree.leaves(params)]
        return AdafactorState(
            jnp.zeros((), jnp.int32), second, optax.tree_utils.tree_zeros_like(params)
        )

    def update(grads: Any, state: AdafactorState, params: Any) -> tuple[Any, Any]:
        count = optax.safe_int32_increment(state.num_updates)
        decay = BETA2 * _one_minus_power(count - 1) / _one_minus_power(count)
        rate = learning_rate(state.num_updates)
        leaves, structure = jax.tree.flatten(grads)
        second = [
            _updated(grad, moments, decay)
            for grad, moments in zip(leaves, state.second_moments, strict=True)
        ]
        scaled = jax.tree.unflatten(
            structure,
            [
                rate * _direction(grad, moments)
                for grad, moments in zip(leaves, second, strict=True)
            ],
        )
        momentum = optax.update_moment(scaled, state.momentum, b1, 1)
        updates = jax.tree.map(
            lambda m, p: -m - rate * weight_decay * p, momentum, params
        )
        return updates, AdafactorState(count, second, momentum)

    return optax.GradientTransformation(init, update)


def _one_minus_power(exponent: jax.Array) -> jax.Array:
    """1 - BETA2 ** exponent, without the rounding of a difference near 0."""
    return -jnp.expm1(exponent * math.log(BETA2))


def _zero_moments(param: jax.Array) -> tuple[jax.Array, ...]:
    if param.ndim < 2:
        return (jnp.zeros_like(param),)
    rows, columns = param.shape[:-1], (*param.shape[:-2], param.shape[-1])
    return jnp.zeros(rows, param.dtype), jnp.zeros(columns, param.dtype)


def _updated(
    grad: jax.Array, moments: tuple[jax.Array, ...], decay: jax.Array
) -> tuple[jax.Array, ...]:
    squares = jnp.square(grad) + EPSILON
    new = (squares,) if grad.ndim < 2 else (squares.mean(-1), squares.mean(-2))
    return tuple(
        decay * old + (1.0 - decay) * seen
        for old, seen in zip(moments, new, strict=True)
    )


def _direction(grad: jax.Array, moments: tuple[jax.Array, ...]) -> jax.Array:
    """The gradient over the root of its second moment, of at most `MAX_RMS`."""
    if len(moments) == 1:
        direction = grad / jnp.sqrt(moments[0])
    else:
        rows, columns = moments
        rows = rows / rows.mean(-1, keepdims=True)
        direction = grad / jnp.sqrt(rows)[..., None] / jnp.sqrt(columns)[..., None, :]
    rms = jnp.sqrt(jnp.square(direction).mean())
    return direction / jnp.maximum(1.0, rms / MAX_RMS)


def rule(setup: Setup) -> optax.GradientTransformation:
    """Adafactor; the factory's schedule is warm-up and cosine decay to 0."""
    return adafactor(
        setup.rate,
        b1=1.0 - setup.point.one_minus_beta1,
        weight_decay=setup.point.weight_decay,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(rule)
