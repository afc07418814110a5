"""Inverse roots of stacks of matrices in JAX: two ways to the same matrices.

Coupled Newton iteration is all products of matrices, what accelerators are good at; on
a CPU an eigendecomposition is about seven times as fast (784 rows).
`optax.matrix_inverse_pth_root` takes one matrix, and roots of order 1, 2, 4 and 8 only;
tensors of rank 3 need order 6.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from algoperf.reference_algorithms.distributed_shampoo.blocks import (
    ALLOWED_GROWTH,
    NUM_ROOT_ITERATIONS,
    NUM_SQUARINGS,
    ROOT_TOLERANCE,
    start_vector,
)


class _Iterate(NamedTuple):
    number: jax.Array
    powers: jax.Array  # [matrices, n, n]: to the identity
    roots: jax.Array  # [matrices, n, n]: to the inverse roots
    errors: jax.Array  # [matrices]
    is_active: jax.Array  # [matrices] bool


def inverse_roots(
    matrices: jax.Array, order: int, ridge: float
) -> tuple[jax.Array, jax.Array]:
    """The matrices to the power -1 / order, and how far each is from that.

    matrices: [matrices, n, n] float, symmetric and positive semidefinite; `ridge` times
    the largest eigenvalue is added. Errors: [matrices], the largest distance of an
    element of root ** order @ matrix from the identity's; NaN where it failed.
    """
    # Squares of small gradients' statistics would be 0 in float32.
    sizes = jnp.abs(matrices).max((1, 2), keepdims=True)
    with jax.default_matmul_precision("highest"):
        roots, errors = jax.lax.platform_dependent(
            matrices / sizes,
            cpu=functools.partial(eigen_roots, order=order, ridge=ridge),
            default=functools.partial(newton_roots, order=order, ridge=ridge),
        )
    return roots * sizes ** (-1.0 / order), errors


def eigen_roots(
    matrices: jax.Array, order: int, ridge: float
) -> tuple[jax.Array, jax.Array]:
    """`inverse_roots` by eigenvalues; errors are 0, or NaN where a matrix has any."""
    values, vectors = jnp.linalg.eigh(matrices)
    values = jnp.maximum(values, 0.0) + ridge * values[:, -1:]
    roots = (vectors * values[:, None, :] ** (-1.0 / order)) @ vectors.swapaxes(1, 2)
    return roots, 0.0 * roots.sum((1, 2))


def newton_roots(
    matrices: jax.Array, order: int, ridge: float
) -> tuple[jax.Array, jax.Array]:
    """`inverse_roots` by iteration, for matrices with elements of at most about 1."""
    identity = jnp.eye(matrices.shape[1], dtype=matrices.dtype)
    largest = _largest_eigenvalues(matrices)
    damped = matrices + (ridge * largest)[:, None, None] * identity
    scale = (1.0 + order) / (2.0 * _norms(damped))

    def improve(old: _Iterate) -> _Iterate:
        step = (1.0 + 1.0 / order) * identity - old.powers / order
        powers = _power(step, order) @ old.powers
        errors = _distance(powers, identity)
        is_better = old.is_active & (errors < ALLOWED_GROWTH * old.errors)
        chosen = is_better[:, None, None]
        return _Iterate(
            old.number + 1,
            jnp.where(chosen, powers, old.powers),
            jnp.where(chosen, old.roots @ step, old.roots),
            jnp.where(is_better, errors, old.errors),
            is_better & (errors > ROOT_TOLERANCE),
        )

    powers = damped * scale
    errors = _distance(powers, identity)
    first = _Iterate(
        jnp.zeros((), jnp.int32),
        powers,
        identity * scale ** (1.0 / order),
        errors,
        errors > ROOT_TOLERANCE,
    )
    last = jax.lax.while_loop(
        lambda x: (x.number < NUM_ROOT_ITERATIONS) & x.is_active.any(), improve, first
    )
    return last.roots, last.errors


def _largest_eigenvalues(matrices: jax.Array) -> jax.Array:
    """[matrices]: Rayleigh quotients after 2 ** NUM_SQUARINGS power iterations."""
    powers = matrices
    for _ in range(NUM_SQUARINGS):
        powers = powers / _norms(powers)
        powers = powers @ powers
    start = jnp.asarray(start_vector(matrices.shape[1]), matrices.dtype)
    vectors = powers @ start[:, None]
    vectors = vectors / _norms(vectors)
    return (vectors * (matrices @ vectors)).sum((1, 2))


def _norms(matrices: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(matrices).sum((1, 2), keepdims=True))


def _power(matrices: jax.Array, exponent: int) -> jax.Array:
    """Of a positive exponent, by repeated squaring."""
    if exponent == 1:
        return matrices
    half = _power(matrices, exponent // 2)
    return half @ half @ matrices if exponent % 2 else half @ half


def _distance(powers: jax.Array, identity: jax.Array) -> jax.Array:
    return jnp.abs(powers - identity).max((1, 2))
