"""NadamW in JAX that tunes itself on the clock, by successive halving. See README.md."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from algoperf import spec
from algoperf.jax_sharding_utils import replicate
from algoperf.reference_algorithms._shared import functions, training_jax, training_log
from algoperf.reference_algorithms._shared.factory_jax import EPSILON
from algoperf.reference_algorithms._shared.nadamw_jax import scale_by_nadam
from algoperf.reference_algorithms._shared.schedules import Schedule
from algoperf.reference_algorithms.nadamw.halving import (
    Bracket,
    Tuner,
    candidates,
    regularisation_point,
    schedule,
)


class PointState(NamedTuple):
    """NadamW's moments, and the point: arrays, so that one program serves all points."""

    adam: optax.ScaleByAdamState
    point: dict[str, jax.Array]


def nadamw_at(relative_rate: Schedule) -> optax.GradientTransformation:
    """NadamW at the point in its state; relative_rate: of the point's rate, at most 1."""
    init_moments = scale_by_nadam(0.0, 0.0, EPSILON).init

    def init(params: Any) -> PointState:
        return PointState(init_moments(params), _arrays(candidates()[0]))

    def update(grads: Any, state: PointState, params: Any) -> tuple[Any, PointState]:
        point = state.point
        b1, b2 = 1.0 - point["one_minus_beta1"], point["beta2"]
        rate = point["learning_rate"] * relative_rate(state.adam.count, jnp)
        directions, adam = scale_by_nadam(b1, b2, EPSILON).update(grads, state.adam)
        updates = jax.tree.map(
            lambda u, p: -rate * (u + point["weight_decay"] * p), directions, params
        )
        return updates, PointState(adam, point)

    return optax.GradientTransformation(init, update)


def _arrays(point: Any) -> dict[str, jax.Array]:
    names = ("learning_rate", "one_minus_beta1", "beta2", "weight_decay")
    return {name: jnp.asarray(getattr(point, name), jnp.float32) for name in names}


def init(start: functions.Start) -> tuple[Tuner, training_jax.TrainStep]:
    """Every candidate starts from the initial parameters."""
    optimizer = nadamw_at(schedule(1.0, start.workload.step_hint))
    states: list[Any] = []
    for candidate in candidates():
        state, train_step = training_jax.init(
            start.workload, optimizer, start.params, start.point
        )
        states.append(state._replace(point=replicate(_arrays(candidate))))
    parked: list[Any] = [
        jax.tree.map(jnp.copy, (start.params, start.model_state)) for _ in states
    ]
    parked[0] = None  # with the harness
    totals = [replicate(jnp.zeros(())) for _ in states]
    bracket = Bracket.of(start.workload.step_hint)
    return Tuner(bracket, states, parked, totals), train_step


def take_step(step: functions.Step) -> spec.UpdateReturn:
    """One step of the current candidate; waits for the device after a rung only."""
    tuner, train_step = step.optimizer_state
    current = tuner.bracket.current
    params, state, model_state, scalars = train_step(
        step.params, tuner.states[current], step.model_state, step.batch, step.rng
    )
    tuner.states[current] = state
    tuner.count_loss(scalars["loss"])
    if training_log.is_due(step.global_step):
        training_log.append(step.workload, step.global_step, **scalars)
    parked = tuner.count_step(lambda: (params, model_state))
    if parked is not None:
        params, model_state = parked
    return (tuner, train_step), params, model_state


get_batch_size, init_optimizer_state, update_params, data_selection = (
    functions.submission(init, take_step, point=regularisation_point)
)
