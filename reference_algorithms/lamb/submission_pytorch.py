"""LAMB in PyTorch, which has none of its own. See README.md."""

import math
from typing import Any

import torch

from algoperf import spec
from algoperf.reference_algorithms._shared import schedules, training_pytorch
from algoperf.reference_algorithms._shared.batch_sizes import get_batch_size
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)
from algoperf.reference_algorithms._shared.selection import data_selection
from algoperf.reference_algorithms._shared.training_pytorch import update_params

__all__ = [
    "data_selection",
    "get_batch_size",
    "init_optimizer_state",
    "update_params",
]

EPSILON = 1e-8


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
    optimizer = Lamb(
        model_params.parameters(),
        betas=(1.0 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        eps=EPSILON,
        weight_decay=hyperparameters.weight_decay,
    )
    return training_pytorch.init(optimizer, schedule)
