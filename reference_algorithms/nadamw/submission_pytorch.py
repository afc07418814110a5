"""NadamW in PyTorch: the published rule, not torch.optim.NAdam's. See README.md."""

import math
from collections.abc import Callable, Iterable
from typing import Any

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

EPSILON = 1e-8


class NadamW(torch.optim.Optimizer):
    """NadamW with decoupled weight decay, in multi-tensor (foreach) operations.

    Not `torch.optim.NAdam`, whose momentum follows a schedule of its own (0.96 ** ...).
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "num_updates": 0,  # a Python number: bias correction needs no device
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(  # type: ignore[override]  # the base class spells it as two overloads
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    def _moments(
        self, params: list[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        for param in params:
            if not self.state[param]:
                self.state[param]["first_moment"] = torch.zeros_like(param)
                self.state[param]["second_moment"] = torch.zeros_like(param)
        states = [self.state[param] for param in params]
        return (
            [state["first_moment"] for state in states],
            [state["second_moment"] for state in states],
        )

    def _update(self, group: dict[str, Any]) -> None:
        params = [param for param in group["params"] if param.grad is not None]
        if not params:
            return
        grads = [param.grad for param in params]
        first, second = self._moments(params)
        beta1, beta2 = group["betas"]
        group["num_updates"] += 1
        correction1 = 1.0 - beta1 ** group["num_updates"]
        correction2 = 1.0 - beta2 ** group["num_updates"]

        torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_lerp_(first, grads, 1.0 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1.0 - beta2)
        ahead = torch._foreach_lerp(first, grads, 1.0 - beta1)
        denominator = torch._foreach_sqrt(second)
        torch._foreach_div_(denominator, math.sqrt(correction2))
        torch._foreach_add_(denominator, group["eps"])
        torch._foreach_addcdiv_(params, ahead, denominator, -group["lr"] / correction1)


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
    optimizer = NadamW(
        model_params.parameters(),
        lr=1.0,  # LambdaLR multiplies it with the schedule's rate
        betas=(1.0 - hyperparameters.one_minus_beta1, hyperparameters.beta2),
        eps=EPSILON,
        weight_decay=hyperparameters.weight_decay,
    )
    return training_pytorch.init(optimizer, schedule)
