"""Prodigy in PyTorch, which has none. See README.md."""

from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)
from algoperf.reference_algorithms.prodigy.constants import (
    INITIAL_DISTANCE,
    distance_beta,
    point,
)


class Prodigy(ForeachOptimizer):
    """Adam at a rate that it estimates; settings `betas`, `eps`, `weight_decay`.

    A group has two scalars on the device: the `distance`, which scales the rate, and the
    `numerator` of its estimate.
    """

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, **settings)
        for group in self.param_groups:
            like = group["params"][0]
            group["numerator"] = like.detach().new_zeros(())
            group["distance"] = like.detach().new_full((), INITIAL_DISTANCE)

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        beta1, beta2 = group["betas"]
        d = group["distance"]
        way = torch._foreach_sub(self._copies("start", params), params)
        scaled = _times(grads, d)
        first, second = self._adam_moments(params, scaled, beta1, beta2)
        denominator = torch._foreach_sqrt(second)
        torch._foreach_add_(denominator, [d * group["eps"]] * len(params))
        directions = torch._foreach_div(first, denominator)
        torch._foreach_add_(directions, params, alpha=group["weight_decay"])
        torch._foreach_sub_(params, _times(directions, d * group["lr"]))
        self._estimate(group, params, scaled, list(way))

    def _estimate(
        self, group: dict[str, Any], params: Tensors, scaled: Tensors, way: Tensors
    ) -> None:
        """The distance for the next update: never smaller, the old one after rates of 0.

        Both sums are over `INITIAL_DISTANCE`, so that neither is too small for float32.
        """
        beta = distance_beta(group["betas"][1])
        weight = group["distance"] * (group["lr"] / INITIAL_DISTANCE)
        sums = self._buffers("gradient_sum", params)
        torch._foreach_mul_(sums, beta)
        torch._foreach_add_(sums, _times(scaled, weight))
        products = torch._foreach_mul(scaled, way)
        along = torch.stack([product.sum() for product in products]).sum()
        group["numerator"] = beta * group["numerator"] + weight * along
        size = torch.stack(torch._foreach_norm(sums, 1)).sum()
        estimate = group["numerator"] / size.where(size > 0, 1.0)
        group["distance"] = torch.maximum(group["distance"], estimate)


def _times(
    tensors: Tensors | tuple[torch.Tensor, ...], factor: torch.Tensor
) -> Tensors:
    """By a scalar on the device, which the operation for one scalar would read on a CPU."""
    return list(torch._foreach_mul(tensors, [factor] * len(tensors)))


def rule(setup: Setup) -> torch.optim.Optimizer:
    """Prodigy; the factory's schedule is warm-up and cosine decay to 0."""
    return Prodigy(setup.params.parameters(), **setup.adam)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    rule, point=point
)
