"""Inverse roots of stacks of matrices in PyTorch: two ways to the same matrices.

Coupled Newton iteration is all products of matrices, what accelerators are good at; with
a fixed number of iterations and choices by `torch.where` nothing waits for the device,
as an eigendecomposition would. On a CPU that is several times as fast.
"""

import torch

from algoperf.reference_algorithms._shared.stacks_pytorch import full_precision
from algoperf.reference_algorithms.distributed_shampoo.blocks import (
    ALLOWED_GROWTH,
    NUM_ROOT_ITERATIONS,
    NUM_SQUARINGS,
    ROOT_TOLERANCE,
    start_vector,
)


def inverse_roots(
    matrices: torch.Tensor, order: int, ridge: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrices to the power -1 / order, and how far each is from that.

    matrices: [matrices, n, n] float, symmetric and positive semidefinite; `ridge` times
    the largest eigenvalue is added. Errors: [matrices], the largest distance of an
    element of root ** order @ matrix from the identity's; NaN where it failed.
    """
    # Squares of small gradients' statistics would be 0 in float32.
    sizes = matrices.abs().amax((1, 2), keepdim=True)
    with full_precision():
        find = eigen_roots if matrices.is_cpu else newton_roots
        roots, errors = find(matrices / sizes, order, ridge)
    return roots * sizes ** (-1.0 / order), errors


def eigen_roots(
    matrices: torch.Tensor, order: int, ridge: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`inverse_roots` by eigenvalues; errors are 0, or NaN where a matrix has any."""
    is_finite = matrices.isfinite().all(2).all(1)
    # The decomposition raises on a NaN.
    matrices = matrices.where(is_finite[:, None, None], 1.0)
    values, vectors = torch.linalg.eigh(matrices)
    values = values.clamp(min=0.0) + ridge * values[:, -1:]
    roots = (vectors * values[:, None, :] ** (-1.0 / order)) @ vectors.mT
    return roots, torch.where(is_finite, 0.0, torch.nan)


def newton_roots(
    matrices: torch.Tensor, order: int, ridge: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """`inverse_roots` by iteration, for matrices with elements of at most about 1."""
    identity = torch.eye(
        matrices.shape[1], dtype=matrices.dtype, device=matrices.device
    )
    largest = _largest_eigenvalues(matrices)
    damped = matrices + (ridge * largest)[:, None, None] * identity
    scale = (1.0 + order) / (2.0 * _norms(damped))

    powers, roots = damped * scale, identity * scale ** (1.0 / order)
    errors = _distance(powers, identity)
    is_active = errors > ROOT_TOLERANCE
    for _ in range(NUM_ROOT_ITERATIONS):
        step = (1.0 + 1.0 / order) * identity - powers / order
        new_powers = torch.linalg.matrix_power(step, order) @ powers
        new_errors = _distance(new_powers, identity)
        is_better = is_active & (new_errors < ALLOWED_GROWTH * errors)
        chosen = is_better[:, None, None]
        roots = torch.where(chosen, roots @ step, roots)
        powers = torch.where(chosen, new_powers, powers)
        errors = torch.where(is_better, new_errors, errors)
        is_active = is_better & (new_errors > ROOT_TOLERANCE)
    return roots, errors


def _largest_eigenvalues(matrices: torch.Tensor) -> torch.Tensor:
    """[matrices]: Rayleigh quotients after 2 ** NUM_SQUARINGS power iterations."""
    powers = matrices
    for _ in range(NUM_SQUARINGS):
        powers = powers / _norms(powers)
        powers = powers @ powers
    start = torch.tensor(start_vector(matrices.shape[1]), dtype=matrices.dtype)
    # Not awaited by the host, where copying from pageable memory would be.
    start = start.pin_memory() if matrices.is_cuda else start
    vectors = powers @ start.to(matrices.device, non_blocking=True)[:, None]
    vectors = vectors / _norms(vectors)
    return (vectors * (matrices @ vectors)).sum((1, 2))


def _norms(matrices: torch.Tensor) -> torch.Tensor:
    norms: torch.Tensor = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    return norms


def _distance(powers: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
    return (powers - identity).abs().amax((1, 2))
