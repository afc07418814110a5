"""Self-tuning NadamW in PyTorch: one point for all workloads. See README.md."""

from algoperf import spec
from algoperf.reference_algorithms._shared import training_pytorch
from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size
from algoperf.reference_algorithms._shared.selection import data_selection
from algoperf.reference_algorithms.nadamw import self_tuning, submission_pytorch

__all__ = [
    "data_selection",
    "get_batch_size",
    "init_optimizer_state",
    "update_params",
]

update_params = training_pytorch.make_update_params(
    point=lambda given: self_tuning.point()
)


def init_optimizer_state(
    workload: spec.Workload,
    model_params: spec.ParameterContainer,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    rng: spec.RandomState,
) -> spec.OptimizerState:
    """That of NadamW at the point; what a search space gives is not used."""
    del hyperparameters
    return submission_pytorch.init_optimizer_state(
        workload, model_params, model_state, self_tuning.point(), rng
    )
