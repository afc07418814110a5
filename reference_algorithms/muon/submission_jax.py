"""Muon in JAX for hidden matrices, NadamW for the rest. See README.md."""

from typing import Any

import jax
import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission
from algoperf.reference_algorithms._shared.matrices import Shape
from algoperf.reference_algorithms._shared.nadamw_jax import nadamw
from algoperf.reference_algorithms._shared.orthogonal_jax import (
    OUTPUT_AXIS,
    by_shape,
    orthogonalized_leaves,
)
from algoperf.reference_algorithms.muon.settings import MuonSettings


def orthogonalize(shape: Shape, scale: float) -> optax.GradientTransformation:
    """Orthogonalises updates that are matrices of one shape, spread over devices."""

    def update(updates: Any, params: Any) -> Any:
        del params
        leaves, structure = jax.tree.flatten(updates)
        new = [
            (scale * x).reshape(leaf.shape)
            for x, leaf in zip(
                orthogonalized_leaves(leaves, shape), leaves, strict=True
            )
        ]
        return jax.tree.unflatten(structure, new)

    return optax.stateless(update)


def muon(setup: Setup) -> optax.GradientTransformation:
    """Muon and NadamW; the schedule of both is warm-up and cosine decay to 0."""
    settings, rate = MuonSettings.of(setup.point), setup.rate

    def of_matrices(shape: Shape) -> optax.GradientTransformation:
        return optax.chain(
            optax.trace(settings.momentum, nesterov=settings.nesterov),
            orthogonalize(shape, settings.scale(shape, OUTPUT_AXIS)),
            optax.add_decayed_weights(settings.weight_decay),
            optax.scale_by_learning_rate(
                lambda count: settings.rate_factor * rate(count)
            ),
        )

    return by_shape(setup, of_matrices, nadamw(rate, **setup.adam))


get_batch_size, init_optimizer_state, update_params, data_selection = submission(muon)
