"""SOAP in JAX, which optax does not have. See README.md.

Matrices of one shape are a stack, which is cut over the devices.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from algoperf.jax_sharding_utils import get_batch_dim_sharding, get_replicate_sharding
from algoperf.reference_algorithms._shared import stacks_jax
from algoperf.reference_algorithms._shared.factory_jax import Setup, submission
from algoperf.reference_algorithms.soap.matrices import (
    Settings,
    Shape,
    matrix_shape,
)

Sides = tuple[jax.Array | None, jax.Array | None]  # of rows and of columns


class StackState(NamedTuple):
    """Of the parameters that are matrices of one shape; the first axis counts them."""

    first: jax.Array  # [matrices, rows, columns]
    second: jax.Array  # the same, in the rotated basis
    statistics: Sides  # [matrices, side, side]; None where a side is not rotated
    bases: Sides  # the same shapes; columns are the basis


class SoapState(NamedTuple):
    """Lists: of the vectors in the order of the leaves, and of the shapes of matrices."""

    num_gradients: Any  # int32
    vectors: Any  # pairs of first and second moments
    stacks: Any  # `StackState`s


def scale_by_soap(settings: Settings) -> optax.GradientTransformation:
    """SOAP's directions, weight decay included; 0 for the first gradient."""

    def init(params: Any) -> SoapState:
        vectors, stacks = _grouped(jax.tree.leaves(params))
        zeros = [jnp.zeros_like(vector) for vector in vectors.values()]
        return SoapState(
            jnp.zeros((), jnp.int32),
            [(zero, zero) for zero in zeros],
            [
                _new_stack(shape, len(indices), settings.largest_side)
                for shape, indices in stacks.items()
            ],
        )

    def update(grads: Any, state: SoapState, params: Any) -> tuple[Any, SoapState]:
        leaves, structure = jax.tree.flatten(grads)
        count, is_first = state.num_gradients, state.num_gradients == 0
        adam = functools.partial(_adam, settings=settings, count=count)
        vectors, stacks = _grouped(leaves)
        moments, new_stacks = [], []
        directions: dict[int, jax.Array] = {}
        for (i, grad), old in zip(vectors.items(), state.vectors, strict=True):
            directions[i], *pair = adam(grad, grad, lambda first: first, *old)
            moments.append(tuple(pair))
        for (shape, indices), old in zip(stacks.items(), state.stacks, strict=True):
            stacked = stacks_jax.stack([leaves[i].reshape(shape) for i in indices])
            result, new = _stack_step(stacked, old, adam, settings)
            new_stacks.append(new)
            parts = stacks_jax.unstack(result, len(indices))
            directions |= {
                i: x.reshape(leaves[i].shape)
                for i, x in zip(indices, parts, strict=True)
            }
        updates = jax.tree.map(
            lambda u, p: jnp.where(is_first, 0.0, u + settings.weight_decay * p),
            jax.tree.unflatten(structure, [directions[i] for i in range(len(leaves))]),
            params,
        )
        refreshed = _with_new_bases(new_stacks, count, settings)
        return updates, SoapState(count + 1, moments, refreshed)

    return optax.GradientTransformation(init, update)


def _grouped(
    leaves: list[jax.Array],
) -> tuple[dict[int, jax.Array], dict[Shape, list[int]]]:
    """The vectors by their place, and the places of the matrices by shape."""
    vectors: dict[int, jax.Array] = {}
    stacks: dict[Shape, list[int]] = {}
    for i, leaf in enumerate(leaves):
        shape = matrix_shape(leaf.shape)
        if shape is None:
            vectors[i] = leaf
        else:
            stacks.setdefault(shape, []).append(i)
    return vectors, stacks


def _new_stack(shape: Shape, count: int, largest_side: int) -> StackState:
    length = stacks_jax.padded_length(count)
    zeros = jnp.zeros((length, *shape))
    sides = [
        jnp.zeros((length, side, side)) if side <= largest_side else None
        for side in shape
    ]
    return StackState(zeros, zeros, (sides[0], sides[1]), (sides[0], sides[1]))


def _adam(
    grad: jax.Array,
    rotated: jax.Array,
    rotate: Any,
    first: jax.Array,
    second: jax.Array,
    *,
    settings: Settings,
    count: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Direction in the rotated basis, and both moments; the first gradient leaves 0."""
    b1, b2 = settings.b1, settings.b2
    is_first, steps = count == 0, jnp.maximum(count, 1)
    first = jnp.where(is_first, 0.0, b1 * first + (1.0 - b1) * grad)
    second = jnp.where(is_first, 0.0, b2 * second + (1.0 - b2) * jnp.square(rotated))
    root = jnp.sqrt(second / (1.0 - b2**steps)) + settings.eps
    return rotate(first) / (1.0 - b1**steps) / root, first, second


def _stack_step(
    grads: jax.Array, old: StackState, adam: Any, settings: Settings
) -> tuple[jax.Array, StackState]:
    """Directions [matrices, rows, columns] and the state, but for the bases."""
    rotate = functools.partial(_rotated, bases=old.bases)
    direction, first, second = adam(grads, rotate(grads), rotate, old.first, old.second)
    direction = _rotated(direction, old.bases, back=True)
    transposed = grads.swapaxes(1, 2)
    with jax.default_matmul_precision("highest"):
        products = (grads @ transposed, transposed @ grads)
    beta = settings.statistics_beta
    left, right = (
        None if known is None else beta * known + (1.0 - beta) * product
        for known, product in zip(old.statistics, products, strict=True)
    )
    return direction, StackState(first, second, (left, right), old.bases)


def _rotated(x: jax.Array, bases: Sides, *, back: bool = False) -> jax.Array:
    left, right = bases
    if left is not None:
        x = (left if back else left.swapaxes(1, 2)) @ x
    if right is not None:
        x = x @ (right.swapaxes(1, 2) if back else right)
    return x


def _with_new_bases(
    stacks: list[StackState], count: jax.Array, settings: Settings
) -> list[StackState]:
    """Eigenvectors after the first gradient, a power iteration at every refresh."""
    is_due = (count > 0) & (count % settings.refresh_every == 0)
    choice = jnp.where(count == 0, 1, jnp.where(is_due, 2, 0))
    refresh = functools.partial(_in_turn, functools.partial(_refreshed, settings))
    choices: list[Any] = [
        lambda x: x,
        functools.partial(_in_turn, _eigenvectors),
        refresh,
    ]
    new: list[StackState] = jax.lax.switch(choice, choices, stacks)
    return new


def _in_turn(function: Any, stacks: list[StackState]) -> list[StackState]:
    """`function(statistic, basis)` -> (basis, order of its columns) for every side.

    One side after the other: see `stacks_jax.after`.
    """
    done = jnp.zeros(1)
    new = []
    for stack in stacks:
        bases: list[jax.Array | None] = []
        second = stack.second
        for axis, (statistic, basis) in enumerate(
            zip(stack.statistics, stack.bases, strict=True)
        ):
            if statistic is not None:
                basis, order = function(stacks_jax.after(done, statistic), basis)
                indices = order[:, :, None] if axis == 0 else order[:, None, :]
                second = jnp.take_along_axis(second, indices, axis + 1)
                done = basis
            bases.append(basis)
        new.append(stack._replace(second=second, bases=(bases[0], bases[1])))
    return new


def _eigenvectors(
    statistics: jax.Array, bases: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Largest eigenvalue first; moments are still 0, so that any order will do.

    Where the decomposition fails, as it may in float32 on matrices of low rank, the
    identity: refreshes turn it.
    """
    del bases
    sizes = jnp.abs(statistics).max((1, 2), keepdims=True)
    _, vectors = jnp.linalg.eigh(statistics / jnp.where(sizes > 0, sizes, 1.0))
    has_failed = ~jnp.isfinite(vectors).all((1, 2), keepdims=True)
    vectors = jnp.where(has_failed, jnp.eye(vectors.shape[-1]), vectors)
    order = jnp.broadcast_to(jnp.arange(vectors.shape[-1]), vectors.shape[:2])
    return vectors[:, :, ::-1], order


def _refreshed(
    settings: Settings, statistics: jax.Array, bases: jax.Array
) -> tuple[jax.Array, jax.Array]:
    with jax.default_matmul_precision("highest"):
        products = statistics @ bases
    order = jnp.broadcast_to(jnp.arange(bases.shape[-1]), bases.shape[:2])
    if settings.sorts:
        order = jnp.argsort(-(bases * products).sum(1), axis=1)
        products = jnp.take_along_axis(products, order[:, None, :], 2)
    return jnp.linalg.qr(products)[0], order


def state_shardings() -> Any:
    """Stacks of matrices are cut over the devices, all else is replicated."""
    whole, cut = get_replicate_sharding(), get_batch_dim_sharding()
    return SoapState(whole, whole, cut), whole


def soap(setup: Setup) -> optax.GradientTransformation:
    """SOAP; the factory's schedule is warm-up and cosine decay to 0."""
    return optax.chain(
        scale_by_soap(Settings.of(setup.adam, setup.point)),
        optax.scale_by_learning_rate(setup.rate),
    )


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    soap, state_shardings=state_shardings
)
