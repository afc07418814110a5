"""Cautious NadamW in PyTorch, which has none. See README.md."""

from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)
from algoperf.reference_algorithms.cautious_nadamw.caution import (
    SMALLEST_SHARE,
    has_cautious_decay,
)


class CautiousNadamW(ForeachOptimizer):
    """Cautious NadamW; NadamW's settings and `cautious_decay`."""

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        first, second = self._adam_moments(params, grads, beta1, beta2)
        directions = list(torch._foreach_lerp(first, grads, 1.0 - beta1))
        _mask(directions, grads)
        if group["cautious_decay"]:
            _decay(params, directions, group["lr"] * group["weight_decay"])
            group = {**group, "weight_decay": 0.0}
        self._move_by_adam(group, params, directions, second)


def _mask(directions: Tensors, grads: Tensors) -> None:
    """Zero where the gradient has another sign, scaled up for that; in place."""
    products = torch._foreach_mul(directions, grads)
    agrees = [(product > 0).to(product.dtype) for product in products]
    shares = torch.stack([x.mean() for x in agrees]).clamp(min=SMALLEST_SHARE)
    torch._foreach_mul_(directions, agrees)
    torch._foreach_div_(directions, list(shares.unbind()))


def _decay(params: Tensors, directions: Tensors, decay: float) -> None:
    """Decays the elements that their update does not push away from 0; in place."""
    products = torch._foreach_mul(directions, params)
    kept = [
        param.where(product >= 0.0, 0.0)
        for param, product in zip(params, products, strict=True)
    ]
    torch._foreach_add_(params, kept, alpha=-decay)


def cautious_nadamw(setup: Setup) -> torch.optim.Optimizer:
    """Cautious NadamW; the factory's schedule is warm-up and cosine decay to 0."""
    return CautiousNadamW(
        setup.params.parameters(),
        cautious_decay=has_cautious_decay(setup.point),
        **setup.adam,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    cautious_nadamw
)
