"""AdamW in JAX with the schedule of momentum, which may be a constant rate. See README.md."""

from algoperf.reference_algorithms._shared import schedules
from algoperf.reference_algorithms._shared.factory_jax import submission
from algoperf.reference_algorithms.adamw.submission_jax import adamw

get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    adamw, schedule=schedules.warmup_linear
)
