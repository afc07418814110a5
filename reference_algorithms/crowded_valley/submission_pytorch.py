"""The optimizers of the Crowded Valley study in PyTorch. See README.md."""

from typing import Any

import array_api_compat.torch as array_namespace
import numpy as np
import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import (
    ForeachOptimizer,
    Tensors,
)
from algoperf.reference_algorithms.crowded_valley import family
from algoperf.reference_algorithms.crowded_valley.rules import COPY, Rule


class RuleOptimizer(ForeachOptimizer):
    """A rule of our own as an optimizer; num_steps: the length of its table."""

    def __init__(self, params: Any, rule: Rule, num_steps: int) -> None:
        super().__init__(params)
        self._rule = rule
        self._table: dict[str, np.ndarray] = rule.table(num_steps)

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        t = group["num_updates"]
        numbers: dict[str, Any] = {"t": t, "rate": group["lr"]}
        for name, column in self._table.items():
            numbers[name] = float(column[min(t, len(column)) - 1])
        for param, grad in zip(params, grads, strict=True):
            slots = self.state[param] or self._first(param)
            delta, slots = self._rule.update(
                array_namespace, param, grad, slots, numbers
            )
            self.state[param] = slots
            param.sub_(delta)

    def _first(self, param: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            name: param.detach().clone()
            if start is COPY
            else torch.full_like(param, start)
            for name, start in self._rule.slots().items()
        }


def optimizer(setup: Setup) -> torch.optim.Optimizer:
    """The optimizer that the point names."""
    chosen = family.choice(setup.point)
    params, values = list(setup.params.parameters()), chosen.values
    if chosen.name == "sgd":
        return torch.optim.SGD(params, lr=1.0, fused=True)
    if chosen.name in ("momentum", "nag"):
        # PyTorch refuses to look ahead without momentum, where it changes nothing.
        is_nag = chosen.name == "nag" and values["rho"] > 0
        rho = values["rho"]
        return torch.optim.SGD(
            params, lr=1.0, momentum=rho, nesterov=is_nag, fused=True
        )
    if chosen.name == "adagrad":
        start = values["initial_accumulator"]
        return torch.optim.Adagrad(
            params, lr=1.0, initial_accumulator_value=start, eps=0.0
        )
    if chosen.name == "adadelta":
        rho, epsilon = values["rho"], values["epsilon"]
        return torch.optim.Adadelta(params, lr=1.0, rho=rho, eps=epsilon)
    return RuleOptimizer(params, chosen.rule(), max(setup.workload.step_hint, 1))


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    optimizer, schedule=family.schedule_of
)
