"""SAM in JAX: the gradient at a worse point nearby, followed by AdamW. See README.md."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf.reference_algorithms._shared import norms_jax, training_jax
from algoperf.reference_algorithms._shared.factory_jax import Setup, submission


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


def adamw(setup: Setup) -> optax.GradientTransformation:
    """optax's AdamW; the factory's schedule is warm-up and cosine decay to 0."""
    return optax.adamw(setup.rate, **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    adamw, gradient=lambda setup: sharpness_aware(setup.point.rho)
)
