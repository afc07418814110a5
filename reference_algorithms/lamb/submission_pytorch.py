"""LAMB in PyTorch, which has none of its own. See README.md."""

import math
from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)


class Lamb(ForeachOptimizer):
    """LAMB; settings `betas`, `eps`, `weight_decay`."""

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        correction1 = 1.0 - beta1 ** group["num_updates"]
        correction2 = 1.0 - beta2 ** group["num_updates"]
        first, second = self._adam_moments(params, grads, beta1, beta2)
        denominator = torch._foreach_sqrt(second)
        torch._foreach_mul_(denominator, correction1 / math.sqrt(correction2))
        torch._foreach_add_(denominator, correction1 * group["eps"])
        directions = torch._foreach_div(first, denominator)
        torch._foreach_add_(directions, params, alpha=group["weight_decay"])
        torch._foreach_mul_(directions, _trust_ratios(params, directions))
        torch._foreach_add_(params, directions, alpha=-group["lr"])


def _trust_ratios(params: Tensors, directions: tuple[torch.Tensor, ...]) -> Tensors:
    """Norm of each parameter over that of its direction; 1 where either is 0."""
    of_params = torch.stack(torch._foreach_norm(params))
    of_directions = torch.stack(torch._foreach_norm(directions))
    is_defined = (of_params > 0) & (of_directions > 0)
    return list(torch.where(is_defined, of_params / of_directions, 1.0).unbind())


def lamb(setup: Setup) -> torch.optim.Optimizer:
    """LAMB; the factory's schedule is warm-up and cosine decay to 0."""
    return Lamb(setup.params.parameters(), **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(lamb)
