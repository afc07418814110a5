"""The published NadamW rule in PyTorch, not torch.optim.NAdam's: nadamw/README.md."""

from typing import Any

import torch

from .foreach_pytorch import ForeachOptimizer, Tensors


class NadamW(ForeachOptimizer):
    """NadamW with decoupled weight decay; settings `betas`, `eps`, `weight_decay`.

    Not `torch.optim.NAdam`, whose momentum follows a schedule of its own (0.96 ** ...).
    """

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        first, second = self._adam_moments(params, grads, beta1, beta2)
        ahead = torch._foreach_lerp(first, grads, 1.0 - beta1)
        self._move_by_adam(group, params, ahead, second)
