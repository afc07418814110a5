"""Heavy ball momentum in PyTorch: torch.optim.SGD without damping. See README.md."""

import torch

from algoperf import spec
from algoperf.reference_algorithms._shared import schedules, training_pytorch
from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size
from algoperf.reference_algorithms._shared.selection import data_selection
from algoperf.reference_algorithms._shared.training_pytorch import update_params

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
    """Zero momentum; warm-up, linear decay, then a constant rate."""
    del model_state, rng
    schedule = schedules.warmup_linear(hyperparameters, workload.step_hint)
    optimizer = torch.optim.SGD(
        model_params.parameters(),
        lr=1.0,  # LambdaLR multiplies it with the schedule's rate
        momentum=1.0 - hyperparameters.one_minus_beta1,
        weight_decay=hyperparameters.weight_decay,
        nesterov=False,
        fused=True,
    )
    return training_pytorch.init(optimizer, schedule)
