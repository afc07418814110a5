"""Self-tuning NadamW in JAX: one point for all workloads. See README.md."""

from algoperf.reference_algorithms._shared.factory_jax import submission
from algoperf.reference_algorithms._shared.points import listed
from algoperf.reference_algorithms.nadamw.submission_jax import nadamw

get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    nadamw, point=listed(__file__, 4)
)
