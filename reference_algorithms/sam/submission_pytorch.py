"""SAM in PyTorch: the gradient at a worse point nearby, then AdamW. See README.md."""

import torch

from algoperf import spec
from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import Tensors
from algoperf.reference_algorithms._shared.training_pytorch import TrainingBatch


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


def adamw(setup: Setup) -> torch.optim.Optimizer:
    """torch's AdamW; the factory's schedule is warm-up and cosine decay to 0."""
    return torch.optim.AdamW(setup.params.parameters(), fused=True, **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    adamw, gradient=sharpness_aware
)
