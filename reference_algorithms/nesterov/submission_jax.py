"""Nesterov momentum in JAX. See README.md."""

from algoperf.reference_algorithms._shared import momentum_jax
from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size
from algoperf.reference_algorithms._shared.selection import data_selection
from algoperf.reference_algorithms._shared.training_jax import update_params

__all__ = [
    "data_selection",
    "get_batch_size",
    "init_optimizer_state",
    "update_params",
]

init_optimizer_state = momentum_jax.initializer(nesterov=True)
