"""Nesterov momentum in JAX. See README.md."""

from algoperf.reference_algorithms._shared.momentum_jax import momentum

get_batch_size, init_optimizer_state, update_params, data_selection = momentum(
    nesterov=True
)
