"""What Muon and its relatives share in PyTorch: orthogonalising, one group a shape."""

from typing import Any

import torch

from algoperf import spec

from . import matrices
from .foreach_pytorch import Tensors
from .matrices import COEFFICIENTS, NUM_ITERATIONS, SMALLEST_NORM, Shape
from .stacks_pytorch import map_over_ranks

OUTPUT_AXIS = 0  # of the matrices: layers keep [outputs, inputs]


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


def orthogonalized_stack(tensors: Tensors, shape: Shape) -> torch.Tensor:
    """Tensors that are matrices of one shape, of which each process does its share.

    The result is [matrices, rows, columns].
    """
    stacked = torch.stack([x.reshape(shape) for x in tensors])
    return map_over_ranks(orthogonalized, stacked)


def parameter_groups(
    workload: spec.Workload, model: torch.nn.Module
) -> list[dict[str, Any]]:
    """One group for each shape of hidden matrices, and one, of shape None, of the rest."""
    by_shape: dict[Shape | None, list[torch.nn.Parameter]] = {}
    for name, param in model.named_parameters():
        shape = matrices.matrix_shape(
            workload.model_params_types[name],
            tuple(param.shape),
            is_output=workload.is_output_params(name),
        )
        by_shape.setdefault(shape, []).append(param)
    return [{"params": p, "matrix_shape": shape} for shape, p in by_shape.items()]
