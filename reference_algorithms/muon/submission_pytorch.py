"""Muon in PyTorch for hidden matrices, NadamW for the rest. See README.md."""

from typing import Any

import torch

from algoperf import spec
from algoperf.reference_algorithms._shared.factory_pytorch import Setup, submission
from algoperf.reference_algorithms._shared.foreach_pytorch import Tensors
from algoperf.reference_algorithms._shared.nadamw_pytorch import NadamW
from algoperf.reference_algorithms._shared.stacks_pytorch import map_over_ranks
from algoperf.reference_algorithms.muon import matrices

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd quintic polynomial
NUM_ITERATIONS = 5
SMALLEST_NORM = 1e-7


def orthogonalized(stacked: torch.Tensor) -> torch.Tensor:
    """Newton-Schulz iterations: singular values to about 1, vectors unchanged.

    stacked: [matrices, rows, columns]; zero matrices stay zero. In float32, where
    `torch.optim.Muon` rounds to bfloat16.
    """
    is_tall = stacked.shape[1] > stacked.shape[2]
    x = stacked.mT if is_tall else stacked
    norm = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    x = x / norm.clamp(min=SMALLEST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if is_tall else x


class Muon(NadamW):
    """Muon in groups that have a `matrix_shape`, NadamW in those where it is None.

    All parameters of a group have one shape, so that they are orthogonalised in one
    batch, of which each process does its share.
    """

    def _update(self, group: dict[str, Any], params: Tensors, grads: Tensors) -> None:
        if group["matrix_shape"] is None:
            super()._update(group, params, grads)
            return
        shape: tuple[int, int] = tuple(group["matrix_shape"])
        rate, momentum = group["lr"], group["momentum"]
        buffers = self._buffers("momentum", params)
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, grads)
        ahead = torch._foreach_add(grads, buffers, alpha=momentum)
        stacked = torch.stack([x.reshape(shape) for x in ahead])
        new = map_over_ranks(orthogonalized, stacked).unbind()
        directions = [x.view_as(p) for x, p in zip(new, params, strict=True)]
        torch._foreach_mul_(params, 1.0 - rate * group["weight_decay"])
        torch._foreach_add_(
            params, directions, alpha=-rate * matrices.update_scale(shape)
        )


def parameter_groups(
    workload: spec.Workload, model: torch.nn.Module
) -> list[dict[str, Any]]:
    """One group of NadamW's parameters, and one for each shape of Muon's."""
    by_shape: dict[tuple[int, int] | None, list[torch.nn.Parameter]] = {}
    for name, param in model.named_parameters():
        shape = matrices.matrix_shape(
            workload.model_params_types[name],
            tuple(param.shape),
            is_output=workload.is_output_params(name),
        )
        by_shape.setdefault(shape, []).append(param)
    return [{"params": p, "matrix_shape": shape} for shape, p in by_shape.items()]


def rule(setup: Setup) -> torch.optim.Optimizer:
    """Muon and NadamW at one rate; the schedule is warm-up and cosine decay to 0."""
    return Muon(
        parameter_groups(setup.workload, setup.params),
        momentum=1.0 - setup.point.one_minus_momentum,
        **setup.adam,
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(rule)
