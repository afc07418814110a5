"""SAM in JAX: the gradient at a worse point nearby, followed by AdamW. See README.md."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf import spec
from algoperf.reference_algorithms._shared import norms_jax, schedules, training_jax
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


def sharpness_aware(rho: float) -> training_jax.ValueAndGrad:
    """The gradient at a distance of `rho` along the gradient, for the same batch.

    The loss and the model state are those at the parameters themselves. The second pass
    uses the same rng, so the same dropout masks, and leaves batch norm's statistics.
    """

    def transform(mean_loss: training_jax.MeanLoss) -> Callable[..., Any]:
        value_and_grad = jax.value_and_grad(mean_loss, has_aux=True)

        def gradient(
            params: Any, model_state: Any, batch: Any, rng: Any, state: Any
        ) -> Any:
            del state
            here, grads = value_and_grad(params, model_state, batch, rng)
            norm = norms_jax.global_norm(grads)
            # A gradient of zero has no direction: the second one is taken in place.
            scale = jnp.where(norm == 0.0, 0.0, rho / norm)
            there = jax.tree.map(lambda p, g: p + scale * g, params, grads)
            _, grads = value_and_grad(
                there, model_state, batch, rng, update_batch_norm=False
            )
            return here, grads

        return gradient

    return transform


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
    optimizer = optax.adamw(
        training_jax.on_device(schedule),
        b1=1.0 - hyperparameters.one_minus_beta1,
        b2=hyperparameters.beta2,
        eps=EPSILON,
        weight_decay=hyperparameters.weight_decay,
    )
    return training_jax.init(
        workload,
        optimizer,
        model_params,
        hyperparameters,
        value_and_grad=sharpness_aware(hyperparameters.rho),
    )
