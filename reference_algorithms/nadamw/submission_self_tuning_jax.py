"""Self-tuning NadamW in JAX: one point for all workloads. See README.md."""

from algoperf.reference_algorithms._shared.factory_jax import submission
from algoperf.reference_algorithms.nadamw import self_tuning, submission_jax

get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    submission_jax.nadamw, point=self_tuning.point
)
