"""Single-worker DiLoCo in PyTorch, which has none. See README.md."""

from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)


class DiLoCo(ForeachOptimizer):
    """AdamW and, every `outer_period` updates, Nesterov momentum along their sum.

    Settings: AdamW's, `outer_period`, `outer_learning_rate`, `outer_momentum`.
    """

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        # Where the parameters were at the last outer step, at first the start.
        slow = self._copies("slow", params)
        first, second = self._adam_moments(params, grads, beta1, beta2)
        self._move_by_adam(group, params, first, second)
        if group["num_updates"] % group["outer_period"] == 0:
            self._outer_step(group, params, slow)

    def _outer_step(
        self, group: dict[str, Any], params: Tensors, slow: Tensors
    ) -> None:
        rate, momentum = group["outer_learning_rate"], group["outer_momentum"]
        changes = torch._foreach_sub(slow, params)
        buffers = self._buffers("outer_momentum", params)
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, changes)
        torch._foreach_add_(slow, changes, alpha=-rate)
        torch._foreach_add_(slow, buffers, alpha=-rate * momentum)
        torch._foreach_copy_(params, slow)


def diloco(setup: Setup) -> torch.optim.Optimizer:
    """AdamW inside; warm-up and cosine decay to 0."""
    return DiLoCo(
        setup.params.parameters(),
        outer_period=int(setup.point.outer_period),
        outer_learning_rate=setup.point.outer_learning_rate,
        outer_momentum=setup.point.outer_momentum,
        **setup.adam,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(diloco)
