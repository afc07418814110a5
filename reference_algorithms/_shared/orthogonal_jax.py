"""What Muon and its relatives share in JAX: orthogonalising, one rule for each shape."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf import spec

from . import matrices, stacks_jax
from .factory_jax import Setup
from .matrices import COEFFICIENTS, NUM_ITERATIONS, SMALLEST_NORM, Shape

OUTPUT_AXIS = 1  # of the matrices: layers keep [inputs, outputs]
_OTHERS = "others"


def orthogonalized(stacked: jax.Array) -> jax.Array:
    """Newton-Schulz iterations: singular values to about 1, vectors unchanged.

    stacked: [matrices, rows, columns]; zero matrices stay zero.
    """
    is_tall = stacked.shape[1] > stacked.shape[2]
    x = stacked.swapaxes(1, 2) if is_tall else stacked
    norm = jnp.linalg.norm(x, axis=(1, 2), keepdims=True)
    x = x / jnp.maximum(norm, SMALLEST_NORM)
    a, b, c = COEFFICIENTS
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.swapaxes(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.swapaxes(1, 2) if is_tall else x


def orthogonalized_leaves(leaves: list[jax.Array], shape: Shape) -> list[jax.Array]:
    """Arrays that are matrices of one shape, orthogonalised in shares over devices.

    The results are matrices [rows, columns].
    """
    stacked = stacks_jax.stack([leaf.reshape(shape) for leaf in leaves])
    return stacks_jax.unstack(orthogonalized(stacked), len(leaves))


def by_shape(
    setup: Setup,
    of_matrices: Callable[[Shape], optax.GradientTransformation],
    of_others: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """One rule for the hidden matrices of each shape, and one for all other parameters."""
    rules = {_OTHERS: of_others}
    shapes = matrix_shapes(setup.workload, setup.params)
    rules |= {_label(shape): of_matrices(shape) for shape in shapes if shape}
    labels = jax.tree.unflatten(
        jax.tree.structure(setup.params), [_label(shape) for shape in shapes]
    )
    return optax.multi_transform(rules, labels)


def matrix_shapes(workload: spec.Workload, params: Any) -> list[Shape | None]:
    """`matrices.matrix_shape` of every leaf of the parameters."""
    types = jax.tree.leaves(workload.model_params_types)
    shapes = []
    for (path, leaf), kind in zip(
        jax.tree_util.tree_leaves_with_path(params), types, strict=True
    ):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        is_output = workload.is_output_params(name)
        shapes.append(matrices.matrix_shape(kind, leaf.shape, is_output=is_output))
    return shapes


def _label(shape: Shape | None) -> str:
    return _OTHERS if shape is None else f"matrices_{shape[0]}x{shape[1]}"
