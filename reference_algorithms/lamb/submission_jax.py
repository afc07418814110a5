"""LAMB in JAX: optax's rule is the published one. See README.md."""

import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission


def lamb(setup: Setup) -> optax.GradientTransformation:
    """optax's LAMB; the factory's schedule is warm-up and cosine decay to 0."""
    return optax.lamb(setup.rate, eps_root=0.0, **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(lamb)
