"""NorMuon in JAX for hidden matrices, NadamW for the rest. See README.md."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from algoperf.reference_algorithms._shared.factory_jax import EPSILON, Setup, submission
from algoperf.reference_algorithms._shared.matrices import (
    SMALLEST_NORM,
    UPDATE_SIZE,
    Shape,
)
from algoperf.reference_algorithms._shared.nadamw_jax import nadamw
from algoperf.reference_algorithms._shared.orthogonal_jax import (
    OUTPUT_AXIS,
    by_shape,
    orthogonalized_leaves,
)


class NeuronState(NamedTuple):
    """Of every output neuron, the mean square of its part of orthogonal updates."""

    second_moment: jax.Array  # [matrices, outputs]


def normalized_by_neuron(
    shape: Shape, b2: float, output_axis: int = OUTPUT_AXIS
) -> optax.GradientTransformation:
    """Orthogonalises matrices, evens out their neurons, and gives them AdamW's size."""
    input_axis = 1 - output_axis

    def init(params: Any) -> NeuronState:
        num_matrices = len(jax.tree.leaves(params))
        return NeuronState(jnp.zeros((num_matrices, shape[output_axis])))

    def update(updates: Any, state: NeuronState, params: Any = None) -> Any:
        del params
        leaves, structure = jax.tree.flatten(updates)
        x = jnp.stack(orthogonalized_leaves(leaves, shape))
        seen = jnp.square(x).mean(1 + input_axis)
        second = b2 * state.second_moment + (1.0 - b2) * seen
        x = x / (jnp.expand_dims(jnp.sqrt(second), 1 + input_axis) + EPSILON)
        norms = jnp.sqrt(jnp.square(x).sum((1, 2), keepdims=True))
        size = UPDATE_SIZE * math.sqrt(math.prod(shape))
        x = x * (size / jnp.maximum(norms, SMALLEST_NORM))
        new = [y.reshape(leaf.shape) for y, leaf in zip(x, leaves, strict=True)]
        return jax.tree.unflatten(structure, new), NeuronState(second)

    return optax.GradientTransformation(init, update)


def normuon(setup: Setup) -> optax.GradientTransformation:
    """NorMuon and NadamW at one rate; the schedule is warm-up and cosine decay to 0."""

    def of_matrices(shape: Shape) -> optax.GradientTransformation:
        return optax.chain(
            optax.ema(1.0 - setup.point.one_minus_momentum, debias=False),
            normalized_by_neuron(shape, setup.point.neuron_beta2),
            optax.add_decayed_weights(setup.point.weight_decay),
            optax.scale_by_learning_rate(setup.rate),
        )

    return by_shape(setup, of_matrices, nadamw(setup.rate, **setup.adam))


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    normuon
)
