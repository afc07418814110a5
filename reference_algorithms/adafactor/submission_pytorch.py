"""Adafactor in PyTorch: the published rule, not torch.optim's. See README.md."""

from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)

BETA2 = 0.99
EPSILON = 1e-30  # added to squared gradients
MAX_RMS = 1.0  # of an update, before the rate


class Adafactor(ForeachOptimizer):
    """Adafactor with momentum on the scaled update; settings `beta1`, `weight_decay`.

    State of a parameter, beside its momentum: `rows` [..., rows] and `columns` [...,
    columns] for rank >= 2, `all` in its own shape for lower ranks.
    """

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        rate, count = group["lr"], group["num_updates"]
        decay = BETA2 * (1.0 - BETA2 ** (count - 1)) / (1.0 - BETA2**count)
        squares = torch._foreach_mul(grads, grads)
        torch._foreach_add_(squares, EPSILON)
        for param, square in zip(params, squares, strict=True):
            self._update_moments(param, square, decay)
        scales = [self._root(param) for param in params]
        directions = torch._foreach_div(grads, scales)
        torch._foreach_mul_(directions, _rates(directions, rate))
        momentum = self._buffers("momentum", params)
        torch._foreach_lerp_(momentum, directions, 1.0 - group["beta1"])
        torch._foreach_mul_(params, 1.0 - rate * group["weight_decay"])
        torch._foreach_sub_(params, momentum)

    def _update_moments(
        self, param: torch.Tensor, square: torch.Tensor, decay: float
    ) -> None:
        new = {"all": square}
        if param.ndim >= 2:
            new = {"rows": square.mean(-1), "columns": square.mean(-2)}
        for name, seen in new.items():
            if name not in self.state[param]:
                self.state[param][name] = torch.zeros_like(seen)
            self.state[param][name].lerp_(seen, 1.0 - decay)

    def _root(self, param: torch.Tensor) -> torch.Tensor:
        """The root of the second moment, in the parameter's shape."""
        state: dict[str, torch.Tensor] = self.state[param]
        if param.ndim < 2:
            return state["all"].sqrt()
        rows = (state["rows"] / state["rows"].mean(-1, keepdim=True)).sqrt()
        return rows.unsqueeze(-1) * state["columns"].sqrt().unsqueeze(-2)


def _rates(directions: tuple[torch.Tensor, ...], rate: float) -> Tensors:
    """The rate, divided for each direction of more than `MAX_RMS` by the excess."""
    norms = torch.stack(torch._foreach_norm(directions))
    sizes = [float(direction.numel()) ** 0.5 * MAX_RMS for direction in directions]
    excesses = torch.stack(torch._foreach_div(list(norms.unbind()), sizes))
    return list((rate / excesses.clamp(min=1.0)).unbind())


def rule(setup: Setup) -> torch.optim.Optimizer:
    """Adafactor; the factory's schedule is warm-up and cosine decay to 0."""
    return Adafactor(
        setup.params.parameters(),
        beta1=1.0 - setup.point.one_minus_beta1,
        weight_decay=setup.point.weight_decay,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(rule)
