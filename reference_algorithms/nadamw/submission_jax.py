"""NadamW in JAX: the published rule, not optax.nadamw's. See README.md."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf import spec
from algoperf.reference_algorithms._shared import schedules, training_jax
from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size
from algoperf.reference_algorithms._shared.selection import data_selection
from algoperf.reference_algorithms._shared.training_jax import update_params

__all__ = [
    "data_selection",
    "get_batch_size",
    "init_optimizer_state",
    "update_params",
]

EPSILON = 1e-8


def scale_by_nadam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """The look-ahead first moment over the root of the second, both bias-corrected.

    Differs from `optax.scale_by_adam(nesterov=True)`, which corrects the first moment
    with step t + 1 and the gradient with t; the published rule corrects their sum
    with t.
    """

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        count = optax.safe_increment(state.count)
        first = optax.tree.update_moment(grads, state.mu, b1, 1)
        second = optax.tree.update_moment(grads, state.nu, b2, 2)
        ahead = optax.tree.update_moment(grads, first, b1, 1)
        direction = jax.tree.map(
            lambda m, v: m / (jnp.sqrt(v) + eps),
            optax.tree.bias_correction(ahead, b1, count),
            optax.tree.bias_correction(second, b2, count),
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


def init_optimizer_state(
    workload: spec.Workload,
    model_params: spec.ParameterContainer,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    rng: spec.RandomState,
) -> spec.OptimizerState:
    """Zero moments; warm-up and cosine decay to 0 at the step hint."""
    del model_state, rng
    schedule = schedules.warmup_cosine(hyperparameters, workload.step_hint)
    optimizer = nadamw(
        training_jax.on_device(schedule),
        b1=1.0 - hyperparameters.one_minus_beta1,
        b2=hyperparameters.beta2,
        eps=EPSILON,
        weight_decay=hyperparameters.weight_decay,
    )
    return training_jax.init(workload, optimizer, model_params, hyperparameters)
