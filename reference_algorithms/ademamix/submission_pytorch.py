"""AdEMAMix in PyTorch, which has none. See README.md."""

from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)
from algoperf.reference_algorithms.ademamix.ramps import Ramps


class AdEMAMix(ForeachOptimizer):
    """AdEMAMix; settings `betas` (the first two), `eps`, `weight_decay`."""

    def __init__(self, params: Any, ramps: Ramps, **settings: Any) -> None:
        super().__init__(params, **settings)
        self._ramps = ramps

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        count = group["num_updates"]
        first, second = self._adam_moments(params, grads, beta1, beta2)
        slow = self._buffers("slow_moment", params)
        torch._foreach_lerp_(slow, grads, 1.0 - float(self._ramps.beta3_at(count)))
        # The slow average is not corrected for its bias, as its factor undoes.
        slow_share = float(self._ramps.alpha_at(count)) * (1.0 - beta1**count)
        mixed = torch._foreach_add(first, slow, alpha=slow_share)
        self._move_by_adam(group, params, mixed, second)


def ademamix(setup: Setup) -> torch.optim.Optimizer:
    """AdEMAMix with the published ramps; warm-up and cosine decay to 0."""
    ramps = Ramps.of(setup.point, setup.workload.step_hint)
    return AdEMAMix(setup.params.parameters(), ramps, **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    ademamix
)
