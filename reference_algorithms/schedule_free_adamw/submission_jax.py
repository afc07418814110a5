"""Schedule-Free AdamW, version 2, in JAX, on optax's schedule_free. See README.md."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from algoperf.reference_algorithms._shared import training_jax
from algoperf.reference_algorithms._shared.factory_jax import EPSILON, Setup, submission
from algoperf.reference_algorithms._shared.functions import evaluation_hook
from algoperf.reference_algorithms.schedule_free_adamw import point
from algoperf.reference_algorithms.schedule_free_adamw.point import (
    STATISTICS_EVERY_STEPS,
    StepSize,
    WarmupConstant,
)


class HeldState(NamedTuple):
    """The rule's state, and which of its points the parameters hold."""

    rule: optax.contrib.ScheduleFreeState
    holds_average: jax.Array  # bool: x, for an evaluation, instead of y


def schedule_free_adamw(
    rate: WarmupConstant, b1: float, b2: float, weight_decay: float
) -> optax.GradientTransformation:
    """The second version's rule: optax's averaging around a step of its own."""
    fast = optax.chain(
        optax.scale_by_rms(
            decay=b2, eps=EPSILON, eps_in_sqrt=False, bias_correction=False
        ),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(lambda count: StepSize(rate, b2)(count, jnp)),
    )
    # optax counts from 1 where our schedules count from 0.
    averaged = optax.contrib.schedule_free(
        fast, lambda count: rate(count - 1, jnp), b1=b1, weight_lr_power=2.0
    )

    def init(params: Any) -> HeldState:
        return HeldState(averaged.init(params), jnp.zeros((), bool))

    def update(grads: Any, state: HeldState, params: Any) -> tuple[Any, HeldState]:
        training_point = to_training_point(state, params)
        updates, rule = averaged.update(grads, state.rule, training_point)
        moves = jax.tree.map(lambda y, u, p: y - p + u, training_point, updates, params)
        return moves, HeldState(rule, jnp.zeros((), bool))

    return optax.GradientTransformation(init, update)


def to_training_point(state: HeldState, params: Any) -> Any:
    """y, where gradients are taken, whichever point the parameters hold."""

    def interpolate(held: jax.Array, fast: jax.Array) -> jax.Array:
        y = held + (1.0 - state.rule.b1) * (fast - held)
        return jnp.where(state.holds_average, y, held)

    return jax.tree.map(interpolate, params, state.rule.z)


def to_average(state: HeldState, params: Any) -> Any:
    """x, which is evaluated, whichever point the parameters hold."""
    average = optax.contrib.schedule_free_eval_params(state.rule, params)
    return jax.tree.map(
        lambda held, x: jnp.where(state.holds_average, held, x), params, average
    )


def gradient(mean_loss: training_jax.MeanLoss) -> Callable[..., Any]:
    """The gradient at y, batch norm's statistics from x. Without them, no second pass."""
    value_and_grad = jax.value_and_grad(mean_loss, has_aux=True)

    def of_step(
        params: Any, model_state: Any, batch: Any, rng: Any, state: HeldState
    ) -> Any:
        is_due = (state.rule.step_count - 1) % STATISTICS_EVERY_STEPS == 0
        if jax.tree.leaves(model_state):
            model_state = jax.lax.cond(
                is_due,
                lambda: mean_loss(to_average(state, params), model_state, batch, rng)[
                    1
                ],
                lambda: model_state,
            )
        (loss, _), grads = value_and_grad(
            to_training_point(state, params),
            model_state,
            batch,
            rng,
            update_batch_norm=False,
        )
        return (loss, model_state), grads

    return of_step


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _hold_average(state: HeldState, params: Any) -> tuple[HeldState, Any]:
    average = to_average(state, params)
    return HeldState(state.rule, jnp.ones((), bool)), average


def rule(setup: Setup) -> optax.GradientTransformation:
    """All three points start at the initial parameters; warm-up, then a constant rate."""
    assert isinstance(setup.schedule, WarmupConstant)
    settings = setup.adam
    return schedule_free_adamw(
        setup.schedule, settings["b1"], settings["b2"], settings["weight_decay"]
    )


def hold_average(optimizer_state: Any, params: Any) -> tuple[Any, Any]:
    """Puts the average into the parameters; the next update goes back by itself."""
    state, train_step = optimizer_state
    state, params = _hold_average(state, params)
    return (state, train_step), params


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    rule,
    schedule=WarmupConstant.of,
    gradient=lambda setup: gradient,
    point=point.point,
    get_batch_size=point.get_batch_size,
)
prepare_for_eval = evaluation_hook(hold_average)
