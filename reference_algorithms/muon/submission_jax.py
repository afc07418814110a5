"""Muon in JAX for hidden matrices, NadamW for the rest. See README.md."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from algoperf import spec
from algoperf.reference_algorithms._shared import stacks_jax
from algoperf.reference_algorithms._shared.factory_jax import Setup, submission
from algoperf.reference_algorithms._shared.nadamw_jax import nadamw
from algoperf.reference_algorithms.muon import matrices

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the odd quintic polynomial
NUM_ITERATIONS = 5
SMALLEST_NORM = 1e-7
NADAMW = "nadamw"


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


def orthogonalize(shape: tuple[int, int]) -> optax.GradientTransformation:
    """Orthogonalises updates that are matrices of one shape, spread over devices."""

    def update(updates: Any, params: Any) -> Any:
        del params
        leaves, structure = jax.tree.flatten(updates)
        stacked = stacks_jax.stack([leaf.reshape(shape) for leaf in leaves])
        scaled = matrices.update_scale(shape) * orthogonalized(stacked)
        new = stacks_jax.unstack(scaled, len(leaves))
        new = [x.reshape(leaf.shape) for x, leaf in zip(new, leaves, strict=True)]
        return jax.tree.unflatten(structure, new)

    return optax.stateless(update)


def muon(
    learning_rate: optax.Schedule,
    shape: tuple[int, int],
    momentum: float,
    weight_decay: float,
) -> optax.GradientTransformation:
    """Muon for parameters that are all matrices of one shape."""
    return optax.chain(
        optax.trace(momentum, nesterov=True),
        orthogonalize(shape),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def matrix_shapes(workload: spec.Workload, params: Any) -> list[tuple[int, int] | None]:
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


def rule(setup: Setup) -> optax.GradientTransformation:
    """Muon and NadamW at one rate; the schedule is warm-up and cosine decay to 0."""
    rules = {NADAMW: nadamw(setup.rate, **setup.adam)}
    shapes = matrix_shapes(setup.workload, setup.params)
    for shape in filter(None, shapes):
        rules[_label(shape)] = muon(
            setup.rate,
            shape,
            1.0 - setup.point.one_minus_momentum,
            setup.point.weight_decay,
        )
    labels = jax.tree.unflatten(
        jax.tree.structure(setup.params), [_label(shape) for shape in shapes]
    )
    return optax.multi_transform(rules, labels)


def _label(shape: tuple[int, int] | None) -> str:
    return NADAMW if shape is None else f"muon_{shape[0]}x{shape[1]}"


get_batch_size, init_optimizer_state, update_params, data_selection = submission(rule)
