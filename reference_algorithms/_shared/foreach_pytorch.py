"""What the PyTorch optimizers of our own share: groups, counters, buffers."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

Tensors = list[torch.Tensor]


class ForeachOptimizer(torch.optim.Optimizer):
    """Subclasses write the update of one parameter group, in foreach operations.

    A group counts its updates in `num_updates`: a Python number, so that bias
    corrections ask no device.
    """

    needs_all_gradients = False  # whether absent gradients count as zero

    def __init__(self, params: Iterable[Any], **settings: Any) -> None:
        """params: tensors or groups; settings: a group's, `lr` is 1.0 if absent."""
        super().__init__(params, {"lr": 1.0, **settings, "num_updates": 0})

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
            if self.needs_all_gradients:
                for param in group["params"]:
                    if param.grad is None:
                        param.grad = torch.zeros_like(param)
            params = [param for param in group["params"] if param.grad is not None]
            if params:
                group["num_updates"] += 1
                self._update(group, params, [param.grad for param in params])
        return loss

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        """Changes `params` and their state in place; `grads` stay as they are."""
        raise NotImplementedError

    def _buffers(self, name: str, params: Tensors) -> Tensors:
        """A buffer of each parameter's shape, zero at first."""
        for param in params:
            if name not in self.state[param]:
                self.state[param][name] = torch.zeros_like(param)
        return [self.state[param][name] for param in params]

    def _copies(self, name: str, params: Tensors) -> Tensors:
        """A buffer of each parameter's shape, at first a copy of it."""
        for param in params:
            if name not in self.state[param]:
                self.state[param][name] = param.detach().clone()
        return [self.state[param][name] for param in params]

    def _adam_moments(
        self, params: Tensors, grads: Tensors, beta1: float, beta2: float
    ) -> tuple[Tensors, Tensors]:
        """Updated running means of gradients and of their squares, uncorrected."""
        first = self._buffers("first_moment", params)
        second = self._buffers("second_moment", params)
        torch._foreach_lerp_(first, grads, 1.0 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1.0 - beta2)
        return first, second

    def _move_by_adam(
        self, group: dict[str, Any], params: Tensors, numerators: Any, second: Tensors
    ) -> None:
        """Decays, then moves by numerators over the root of the second moment.

        Both are corrected for their bias here. Settings: `lr`, `betas`, `eps`,
        `weight_decay`.
        """
        beta1, beta2 = group["betas"]
        correction1 = 1.0 - beta1 ** group["num_updates"]
        correction2 = 1.0 - beta2 ** group["num_updates"]
        denominator = torch._foreach_sqrt(second)
        torch._foreach_div_(denominator, math.sqrt(correction2))
        torch._foreach_add_(denominator, group["eps"])
        torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
        torch._foreach_addcdiv_(
            params, numerators, denominator, -group["lr"] / correction1
        )
