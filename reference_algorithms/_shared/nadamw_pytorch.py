"""The published NadamW rule in PyTorch, not torch.optim.NAdam's: nadamw/README.md."""

import math
from typing import Any

import torch

from .foreach_pytorch import ForeachOptimizer, Tensors


class NadamW(ForeachOptimizer):
    """NadamW with decoupled weight decay; settings `betas`, `eps`, `weight_decay`.

    Not `torch.optim.NAdam`, whose momentum follows a schedule of its own (0.96 ** ...).
    """

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        correction1 = 1.0 - beta1 ** group["num_updates"]
        correction2 = 1.0 - beta2 ** group["num_updates"]

        torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
        first, second = self._adam_moments(params, grads, beta1, beta2)
        ahead = torch._foreach_lerp(first, grads, 1.0 - beta1)
        denominator = torch._foreach_sqrt(second)
        torch._foreach_div_(denominator, math.sqrt(correction2))
        torch._foreach_add_(denominator, group["eps"])
        torch._foreach_addcdiv_(params, ahead, denominator, -group["lr"] / correction1)
