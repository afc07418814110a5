"""Muon in JAX for hidden matrices, NadamW for the rest. See README.md."""

from typing import Any

import jax
import optax

from algoperf.reference_algorithms._shared import matrices
from algoperf.reference_algorithms._shared.factory_jax import Setup, submission
from algoperf.reference_algorithms._shared.matrices import Shape
from algoperf.reference_algorithms._shared.nadamw_jax import nadamw
from algoperf.reference_algorithms._shared.orthogonal_jax import (
    by_shape,
    orthogonalized_leaves,
)


def orthogonalize(shape: Shape) -> optax.GradientTransformation:
    """Orthogonalises updates that are matrices of one shape, spread over devices."""

    def update(updates: Any, params: Any) -> Any:
        del params
        leaves, structure = jax.tree.flatten(updates)
        scale = matrices.update_scale(shape)
        new = [
            (scale * x).reshape(leaf.shape)
            for x, leaf in zip(
                orthogonalized_leaves(leaves, shape), leaves, strict=True
            )
        ]
        return jax.tree.unflatten(structure, new)

    return optax.stateless(update)


def muon(setup: Setup) -> optax.GradientTransformation:
    """Muon and NadamW at one rate; the schedule is warm-up and cosine decay to 0."""

    def of_matrices(shape: Shape) -> optax.GradientTransformation:
        return optax.chain(
            optax.trace(1.0 - setup.point.one_minus_momentum, nesterov=True),
            orthogonalize(shape),
            optax.add_decayed_weights(setup.point.weight_decay),
            optax.scale_by_learning_rate(setup.rate),
        )

    return by_shape(setup, of_matrices, nadamw(setup.rate, **setup.adam))


get_batch_size, init_optimizer_state, update_params, data_selection = submission(muon)
