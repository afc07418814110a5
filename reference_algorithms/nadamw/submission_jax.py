"""NadamW in JAX: the published rule, not optax.nadamw's. See README.md."""

import optax

from algoperf.reference_algorithms._shared import nadamw_jax
from algoperf.reference_algorithms._shared.factory_jax import Setup, submission


def nadamw(setup: Setup) -> optax.GradientTransformation:
    """Our NadamW; the factory's schedule is warm-up and cosine decay to 0."""
    return nadamw_jax.nadamw(setup.rate, **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(nadamw)
