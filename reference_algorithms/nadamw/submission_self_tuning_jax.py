"""Self-tuning NadamW in JAX: one point for all workloads. See README.md."""

from algoperf import spec
from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size
from algoperf.reference_algorithms._shared.selection import data_selection
from algoperf.reference_algorithms._shared.training_jax import update_params
from algoperf.reference_algorithms.nadamw import self_tuning, submission_jax

__all__ = [
    "data_selection",
    "get_batch_size",
    "init_optimizer_state",
    "update_params",
]


def init_optimizer_state(
    workload: spec.Workload,
    model_params: spec.ParameterContainer,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    rng: spec.RandomState,
) -> spec.OptimizerState:
    """That of NadamW at the point; what a search space gives is not used."""
    del hyperparameters
    return submission_jax.init_optimizer_state(
        workload, model_params, model_state, self_tuning.point(), rng
    )
