"""Muon in PyTorch for hidden matrices, NadamW for the rest. See README.md."""

from typing import Any

import torch

from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import Tensors
from algoperf.reference_algorithms._shared.matrices import Shape
from algoperf.reference_algorithms._shared.nadamw_pytorch import NadamW
from algoperf.reference_algorithms._shared.orthogonal_pytorch import (
    OUTPUT_AXIS,
    orthogonalized_stack,
    parameter_groups,
)
from algoperf.reference_algorithms.muon.settings import MuonSettings


class Muon(NadamW):
    """Muon in groups that have a `matrix_shape`, NadamW in those where it is None.

    All parameters of a group have one shape, so that they are orthogonalised in one
    batch, of which each process does its share.
    """

    def __init__(self, params: Any, muon: MuonSettings, **settings: Any) -> None:
        super().__init__(params, **settings)
        self._muon = muon

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        if group["matrix_shape"] is None:
            super()._update(group, params, grads)
            return
        shape: Shape = tuple(group["matrix_shape"])
        rate, momentum = group["lr"] * self._muon.rate_factor, self._muon.momentum
        buffers = self._buffers("momentum", params)
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, grads)
        ahead = buffers
        if self._muon.nesterov:
            ahead = list(torch._foreach_add(grads, buffers, alpha=momentum))
        new = orthogonalized_stack(ahead, shape).unbind()
        directions = [x.view_as(p) for x, p in zip(new, params, strict=True)]
        scale = self._muon.scale(shape, OUTPUT_AXIS)
        torch._foreach_mul_(params, 1.0 - rate * self._muon.weight_decay)
        torch._foreach_add_(params, directions, alpha=-rate * scale)


def muon(setup: Setup) -> torch.optim.Optimizer:
    """Muon and NadamW; the schedule of both is warm-up and cosine decay to 0."""
    return Muon(
        parameter_groups(setup.workload, setup.params),
        MuonSettings.of(setup.point),
        **setup.adam,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(muon)
