"""Muon in PyTorch for hidden matrices, NadamW for the rest. See README.md."""

from typing import Any

import torch

from algoperf.reference_algorithms._shared import matrices
from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import Tensors
from algoperf.reference_algorithms._shared.nadamw_pytorch import NadamW
from algoperf.reference_algorithms._shared.orthogonal_pytorch import (
    orthogonalized_stack,
    parameter_groups,
)


class Muon(NadamW):
    """Muon in groups that have a `matrix_shape`, NadamW in those where it is None.

    All parameters of a group have one shape, so that they are orthogonalised in one
    batch, of which each process does its share.
    """

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        if group["matrix_shape"] is None:
            super()._update(group, params, grads)
            return
        shape: matrices.Shape = tuple(group["matrix_shape"])
        rate, momentum = group["lr"], group["momentum"]
        buffers = self._buffers("momentum", params)
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, grads)
        ahead = torch._foreach_add(grads, buffers, alpha=momentum)
        new = orthogonalized_stack(list(ahead), shape).unbind()
        directions = [x.view_as(p) for x, p in zip(new, params, strict=True)]
        torch._foreach_mul_(params, 1.0 - rate * group["weight_decay"])
        torch._foreach_add_(
            params, directions, alpha=-rate * matrices.update_scale(shape)
        )


def muon(setup: Setup) -> torch.optim.Optimizer:
    """Muon and NadamW at one rate; the schedule is warm-up and cosine decay to 0."""
    return Muon(
        parameter_groups(setup.workload, setup.params),
        momentum=1.0 - setup.point.one_minus_momentum,
        **setup.adam,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(muon)
