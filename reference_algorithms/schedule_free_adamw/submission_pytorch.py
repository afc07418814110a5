"""Schedule-Free AdamW, version 2, in PyTorch, which has none. See README.md."""

import dataclasses
import math
from typing import Any

import torch

from algoperf import spec
from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)
from algoperf.reference_algorithms._shared.functions import evaluation_hook
from algoperf.reference_algorithms._shared.training_pytorch import TrainingBatch
from algoperf.reference_algorithms.schedule_free_adamw import point
from algoperf.reference_algorithms.schedule_free_adamw.point import (
    STATISTICS_EVERY_STEPS,
    WarmupConstant,
)


class ScheduleFreeAdamW(ForeachOptimizer):
    """Schedule-Free AdamW; settings `betas`, `eps`, `weight_decay`.

    The parameters hold y, where gradients are taken, or the average x, for evaluations.
    The state has z, the fast point; y = x + (1 - beta1) (z - x).
    """

    def __init__(self, params: Any, **settings: Any) -> None:
        held = {"weight_sum": 0.0, "holds_average": False}
        super().__init__(params, **settings, **held)

    @torch.no_grad()
    def hold_average(self) -> None:
        """Puts x into the parameters, unless they hold it."""
        for group in self.param_groups:
            if not group["holds_average"]:
                beta1, _ = group["betas"]
                fast = self._copies("fast", group["params"])
                torch._foreach_lerp_(group["params"], fast, 1.0 - 1.0 / beta1)
                group["holds_average"] = True

    @torch.no_grad()
    def hold_training_point(self) -> None:
        """Puts y into the parameters, unless they hold it."""
        for group in self.param_groups:
            if group["holds_average"]:
                beta1, _ = group["betas"]
                fast = self._copies("fast", group["params"])
                torch._foreach_lerp_(group["params"], fast, 1.0 - beta1)
                group["holds_average"] = False

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        group["weight_sum"] += group["lr"] ** 2
        share = group["lr"] ** 2 / group["weight_sum"]
        size = group["lr"] * math.sqrt(1.0 - beta2 ** group["num_updates"])

        fast = self._copies("fast", params)
        second = self._buffers("second_moment", params)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1.0 - beta2)
        denominator = torch._foreach_sqrt(second)
        torch._foreach_add_(denominator, group["eps"])
        moves = torch._foreach_div(grads, denominator)
        torch._foreach_add_(moves, params, alpha=group["weight_decay"])
        # beta1 * x, so that x itself needs neither memory nor a division.
        torch._foreach_add_(params, fast, alpha=-(1.0 - beta1))
        torch._foreach_add_(fast, moves, alpha=-size)
        torch._foreach_mul_(params, 1.0 - share)
        torch._foreach_add_(params, fast, alpha=1.0 - beta1 + beta1 * share)


def gradient(
    data: TrainingBatch, optimizer: torch.optim.Optimizer, global_step: int
) -> tuple[torch.Tensor, spec.ModelAuxiliaryState]:
    """Fills the gradient at y; batch norm's statistics come from x, if there are any."""
    assert isinstance(optimizer, ScheduleFreeAdamW)
    optimizer.hold_training_point()
    if global_step % STATISTICS_EVERY_STEPS == 0 and _has_batch_norm(data.workload):
        params: Tensors = list(data.model.parameters())
        training_point = [param.detach().clone() for param in params]
        with torch.no_grad():
            optimizer.hold_average()
            _, model_state = data.forward(update_batch_norm=True)
            optimizer.hold_training_point()
            # To the last bit as if there had been no change of points.
            torch._foreach_copy_(params, training_point)
        data = dataclasses.replace(data, model_state=model_state)
    return data.backward(update_batch_norm=False)


def _has_batch_norm(workload: spec.Workload) -> bool:
    types = workload.model_params_types.values()
    return spec.ParameterType.BATCH_NORM_SCALE in types


def rule(setup: Setup) -> torch.optim.Optimizer:
    """All three points start at the initial parameters; warm-up, then a constant rate."""
    return ScheduleFreeAdamW(setup.params.parameters(), **setup.adam)


def hold_average(optimizer_state: Any, model: Any) -> tuple[Any, Any]:
    """Puts the average into the parameters; the next update goes back by itself."""
    optimizer_state["optimizer"].hold_average()
    return optimizer_state, model


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    rule,
    schedule=WarmupConstant.of,
    gradient=gradient,
    point=point.point,
    get_batch_size=point.get_batch_size,
)
prepare_for_eval = evaluation_hook(hold_average)
