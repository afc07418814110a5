"""Lion in PyTorch, which has none. See README.md."""

from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)


class Lion(ForeachOptimizer):
    """Lion; settings `betas`, `weight_decay`."""

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        momentum = self._buffers("momentum", params)
        directions = torch._foreach_lerp(momentum, grads, 1.0 - beta1)
        torch._foreach_sign_(directions)
        torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(params, directions, alpha=-group["lr"])
        torch._foreach_lerp_(momentum, grads, 1.0 - beta2)


def lion(setup: Setup) -> torch.optim.Optimizer:
    """Lion; the factory's schedule is warm-up and cosine decay to 0."""
    return Lion(setup.params.parameters(), **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(lion)
