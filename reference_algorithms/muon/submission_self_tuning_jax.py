"""Self-tuning Muon in JAX: one point for all workloads. See README.md."""

from algoperf.reference_algorithms._shared.factory_jax import submission
from algoperf.reference_algorithms._shared.points import listed
from algoperf.reference_algorithms.muon.submission_jax import muon

get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    muon, point=listed(__file__, 0)
)
