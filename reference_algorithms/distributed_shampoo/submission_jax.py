"""Distributed Shampoo in JAX, which preconditions. See README.md.

Statistics and roots are stacks of matrices that are cut over the devices: each device
keeps, and takes the roots of, its share.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from algoperf.jax_sharding_utils import get_batch_dim_sharding, get_replicate_sharding
from algoperf.reference_algorithms._shared import stacks_jax
from algoperf.reference_algorithms._shared.factory_jax import Setup, submission
from algoperf.reference_algorithms.distributed_shampoo.blocks import Blocks, Constants
from algoperf.reference_algorithms.distributed_shampoo.roots_jax import inverse_roots


class ShampooState(NamedTuple):
    """Trees like the parameters, but for the stacks: lists by group and axis."""

    num_updates: Any  # int32
    second_moment: Any  # of normalised gradients
    momentum: Any  # of preconditioned directions
    graft_momentum: Any
    statistics: Any  # [blocks of the group, length of the axis, length of the axis]
    roots: Any  # the same shapes


def scale_by_shampoo(
    b1: float, weight_decay: float, constants: Constants
) -> optax.GradientTransformation:
    """Directions of Distributed Shampoo, with momentum and weight decay."""

    def init(params: Any) -> ShampooState:
        blocks = _blocks_of(params, constants)
        identities = [
            [_identities(count, size) for size in shape]
            for shape, count in blocks.counts.items()
        ]
        statistics = jax.tree.map(lambda x: constants.initial_statistic * x, identities)
        return ShampooState(
            num_updates=jnp.zeros((), jnp.int32),
            second_moment=optax.tree_utils.tree_zeros_like(params),
            momentum=optax.tree_utils.tree_zeros_like(params),
            graft_momentum=optax.tree_utils.tree_zeros_like(params),
            statistics=statistics,
            roots=identities,
        )

    def update(grads: Any, state: ShampooState, params: Any) -> tuple[Any, Any]:
        second, graft = _grafting_direction(grads, state.second_moment, constants)
        statistics, roots, direction = _precondition(grads, graft, state, constants)
        direction = jax.tree.map(
            lambda p, u: p * _norm(u) / (_norm(p) + constants.smallest_norm),
            direction,
            graft,
        )
        momentum, result = _nesterov(
            direction, params, state.momentum, b1, weight_decay
        )
        graft_momentum, graft_result = _nesterov(
            graft, params, state.graft_momentum, b1, weight_decay
        )
        num_updates = optax.safe_int32_increment(state.num_updates)
        is_preconditioned = num_updates >= constants.start_preconditioning_step
        updates = jax.tree.map(
            lambda p, u: jnp.where(is_preconditioned, p, u), result, graft_result
        )
        return updates, ShampooState(
            num_updates, second, momentum, graft_momentum, statistics, roots
        )

    return optax.GradientTransformation(init, update)


def _blocks_of(tree: Any, constants: Constants) -> Blocks:
    return Blocks([leaf.shape for leaf in jax.tree.leaves(tree)], constants.limits)


def _identities(count: int, size: int) -> jax.Array:
    shape = (stacks_jax.padded_length(count), size, size)
    return jnp.broadcast_to(jnp.eye(size), shape)


def _norm(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.square(x).sum())


def _grafting_direction(
    grads: Any, second_moment: Any, constants: Constants
) -> tuple[Any, Any]:
    """The new second moment, and RMSProp's direction of normalised gradients."""
    grads = jax.tree.map(lambda g: g / (_norm(g) + constants.smallest_norm), grads)
    second = optax.update_moment(grads, second_moment, constants.beta2, 2)
    direction = jax.tree.map(
        lambda g, d: g / (jnp.sqrt(d) + constants.epsilon), grads, second
    )
    return second, direction


def _nesterov(
    direction: Any, params: Any, momentum: Any, b1: float, weight_decay: float
) -> tuple[Any, Any]:
    decayed = jax.tree.map(lambda d, p: d + weight_decay * p, direction, params)
    momentum = optax.update_moment(decayed, momentum, b1, 1)
    return momentum, optax.update_moment(decayed, momentum, b1, 1)


def _precondition(
    grads: Any, graft: Any, state: ShampooState, constants: Constants
) -> tuple[Any, Any, Any]:
    """New statistics, new roots, and the gradients with the roots along every axis.

    Tensors with too long an axis have their grafting direction instead.
    """
    leaves, structure = jax.tree.flatten(grads)
    blocks = _blocks_of(grads, constants)
    stacks = [stacks_jax.stack(group) for group in blocks.cut(leaves).values()]
    statistics = [
        _updated_statistics(stacked, group, constants.beta2)
        for stacked, group in zip(stacks, state.statistics, strict=True)
    ]
    roots = jax.lax.cond(
        state.num_updates % constants.update_roots_every == 0,
        lambda: _updated_roots(statistics, state.roots, constants),
        lambda: state.roots,
    )
    stacks = [_apply(x, group) for x, group in zip(stacks, roots, strict=True)]
    new = blocks.join(
        {
            shape: stacks_jax.unstack(stacked, count)
            for (shape, count), stacked in zip(
                blocks.counts.items(), stacks, strict=True
            )
        },
        jnp.concatenate,
    )
    leaves = [new.get(i, leaf) for i, leaf in enumerate(jax.tree.leaves(graft))]
    return statistics, roots, jax.tree.unflatten(structure, leaves)


def _along(stacked: jax.Array, axis: int) -> jax.Array:
    """[blocks, length of the axis, all other axes]; axis counts without the blocks."""
    moved = jnp.moveaxis(stacked, axis + 1, 1)
    return moved.reshape(*moved.shape[:2], -1)


def _updated_statistics(
    stacked: jax.Array, statistics: list[jax.Array], beta2: float
) -> list[jax.Array]:
    updated = []
    for axis, old in enumerate(statistics):
        along = _along(stacked, axis)
        updated.append(beta2 * old + (1.0 - beta2) * along @ along.swapaxes(1, 2))
    return updated


def _updated_roots(
    statistics: list[list[jax.Array]],
    roots: list[list[jax.Array]],
    constants: Constants,
) -> list[list[jax.Array]]:
    """Roots of all statistics; where one failed, the old root.

    Matrices of one size and order go through one program, from whichever group; one
    size after the other: XLA's CPU executor (jaxlib 0.10) stops for ever where it runs
    several eigendecompositions at a time.
    """
    places: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, group in enumerate(statistics):
        for axis, matrices in enumerate(group):
            key = (matrices.shape[1], 2 * len(group))
            places.setdefault(key, []).append((i, axis))
    updated = [list(group) for group in roots]
    errors = jnp.zeros(1)
    for (_, order), where in places.items():
        joined = jnp.concatenate([statistics[i][axis] for i, axis in where])
        joined = stacks_jax.after(errors, joined)
        new, errors = inverse_roots(joined, order, constants.ridge)
        ends = np.cumsum([len(statistics[i][axis]) for i, axis in where])[:-1]
        parts = zip(where, jnp.split(new, ends), jnp.split(errors, ends), strict=True)
        for (i, axis), root, error in parts:
            is_usable = error < constants.largest_error  # not so if NaN
            updated[i][axis] = jnp.where(is_usable[:, None, None], root, roots[i][axis])
    return updated


def _apply(stacked: jax.Array, roots: list[jax.Array]) -> jax.Array:
    """Every block multiplied along each of its axes with that axis's root."""
    for axis, root in enumerate(roots):
        moved = jnp.moveaxis(stacked, axis + 1, 1)
        product = (root @ _along(stacked, axis)).reshape(moved.shape)
        stacked = jnp.moveaxis(product, 1, axis + 1)
    return stacked


def distributed_shampoo(
    learning_rate: optax.Schedule,
    b1: float,
    weight_decay: float,
    constants: Constants,
) -> optax.GradientTransformation:
    """Distributed Shampoo; its state lies as `state_shardings` says."""
    return optax.chain(
        scale_by_shampoo(b1, weight_decay, constants),
        optax.scale_by_learning_rate(learning_rate),
    )


def state_shardings() -> Any:
    """Stacks of matrices are cut over the devices, all else is replicated."""
    whole, cut = get_replicate_sharding(), get_batch_dim_sharding()
    return ShampooState(whole, whole, whole, whole, cut, cut), whole


def rule(setup: Setup) -> optax.GradientTransformation:
    """Distributed Shampoo; the schedule is warm-up and cosine decay to 0."""
    return distributed_shampoo(
        setup.rate,
        b1=1.0 - setup.point.one_minus_beta1,
        weight_decay=setup.point.weight_decay,
        constants=Constants.at(setup.point),
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    rule, state_shardings=state_shardings
)
