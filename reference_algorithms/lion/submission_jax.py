"""Lion in JAX: optax's rule is the published one. See README.md."""

import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission


def lion(setup: Setup) -> optax.GradientTransformation:
    """optax's Lion; the factory's schedule is warm-up and cosine decay to 0."""
    settings = setup.adam
    return optax.lion(
        setup.rate,
        settings["b1"],
        settings["b2"],
        weight_decay=settings["weight_decay"],
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(lion)
