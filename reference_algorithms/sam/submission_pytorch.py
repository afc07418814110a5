"""SAM in PyTorch: the gradient at a worse point nearby, then AdamW. See README.md."""

import torch

from algoperf import spec
from algoperf.reference_algorithms._shared import schedules, training_pytorch
from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size
from algoperf.reference_algorithms._shared.foreach_pytorch import Tensors
from algoperf.reference_algorithms._shared.selection import data_selection
from algoperf.reference_algorithms._shared.training_pytorch import TrainingBatch

__all__ = [
    "data_selection",
    "get_batch_size",
    "init_optimizer_state",
    "update_params",
]

EPSILON = 1e-8


def sharpness_aware(
    data: TrainingBatch, optimizer: torch.optim.Optimizer, global_step: int
) -> tuple[torch.Tensor, spec.ModelAuxiliaryState]:
    """Fills the gradient at a distance of `rho` along the gradient.

    The loss and the model state are those at the parameters themselves. The second pass
    uses the same rng, so the same dropout masks, and leaves batch norm's statistics.
    Between processes the first gradient is averaged too, so all move to the same point.
    """
    del global_step
    mean_loss, model_state = data.backward()
    params: Tensors = [p for p in data.model.parameters() if p.grad is not None]
    grads = [p.grad for p in params if p.grad is not None]
    start = [p.detach().clone() for p in params]
    with torch.no_grad():
        norm = torch.nn.utils.get_total_norm(grads)
        # A gradient of zero has no direction: the second one is taken in place.
        scale = torch.where(norm == 0.0, 0.0, data.hyperparameters.rho / norm)
        torch._foreach_add_(params, torch._foreach_mul(grads, scale))
    optimizer.zero_grad()
    data.backward(update_batch_norm=False)
    with torch.no_grad():
        torch._foreach_copy_(params, start)
    return mean_loss, model_state


update_params = training_pytorch.make_update_params(sharpness_aware)


def init_optimizer_state(
    workload: spec.Workload,
    model_params: spec.ParameterContainer,
    model_state: spec.ModelAuxiliaryState,
    hyperparameters: spec.Hyperparameters,
    rng: spec.RandomState,
) -> spec.OptimizerState:
    """Zero moments; warm-up and cosine decay to 0 at the step hint."""
    del model_state, rng
    schedule = schedules.warmup_cosine(hyperparameters, workload.step_hint)
    optimizer = torch.optim.AdamW(
        model_params.parameters(),
        lr=1.0,  # LambdaLR multiplies it with the schedule's rate
        betas=(1.0 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        eps=EPSILON,
        weight_decay=hyperparameters.weight_decay,
        fused=True,
    )
    return training_pytorch.init(optimizer, schedule)
