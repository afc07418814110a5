"""AdEMAMix in JAX: optax's rule is the published one. See README.md."""

import jax.numpy as jnp
import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission
from algoperf.reference_algorithms.ademamix.ramps import Ramps


def ademamix(setup: Setup) -> optax.GradientTransformation:
    """optax's AdEMAMix with the published ramps; warm-up and cosine decay to 0."""
    ramps = Ramps.of(setup.point, setup.workload.step_hint)
    # optax's counter is 0 at the first step.
    return optax.contrib.ademamix(
        setup.rate,
        b3=lambda count: ramps.beta3_at(count + 1, jnp),
        alpha=lambda count: ramps.alpha_at(count + 1, jnp),
        **setup.adam,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    ademamix
)
