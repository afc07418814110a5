"""The optimizers of the Crowded Valley study in JAX. See README.md."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from algoperf.reference_algorithms._shared.factory_jax import Setup, submission
from algoperf.reference_algorithms.crowded_valley import family
from algoperf.reference_algorithms.crowded_valley.rules import COPY, Rule


class State(NamedTuple):
    """The optimizer state of a rule of our own."""

    num_updates: jax.Array
    slots: Any  # a dict of arrays for each parameter, in the order of the tree's leaves


def of_rule(
    rule: Rule, rate: optax.Schedule, table: Mapping[str, Any]
) -> optax.GradientTransformation:
    """The rule as a transformation of gradients; table: the rule's."""

    def init(params: Any) -> State:
        starts = rule.slots()
        slots = [
            {
                name: jnp.array(param) if start is COPY else jnp.full_like(param, start)
                for name, start in starts.items()
            }
            for param in jax.tree.leaves(params)
        ]
        return State(jnp.zeros((), jnp.int32), slots)

    def update(grads: Any, state: State, params: Any = None) -> tuple[Any, State]:
        numbers: dict[str, Any] = {}
        for name, column in table.items():
            row = jnp.minimum(state.num_updates, len(column) - 1)
            numbers[name] = jnp.asarray(column)[row]
        numbers |= {"t": state.num_updates + 1, "rate": rate(state.num_updates)}
        leaves, tree = jax.tree.flatten(grads)
        found = [
            rule.update(jnp, param, grad, slots, numbers)
            for param, grad, slots in zip(
                jax.tree.leaves(params), leaves, state.slots, strict=True
            )
        ]
        updates = jax.tree.unflatten(tree, [-delta for delta, _ in found])
        return updates, State(state.num_updates + 1, [slots for _, slots in found])

    return optax.GradientTransformation(init, update)


def transformation(
    name: str, values: dict[str, Any], rate: optax.Schedule, table: Mapping[str, Any]
) -> optax.GradientTransformation:
    """An optimizer of the family.

    values: hyperparameters, numbers or traced scalars. table: `family.table_of` them, as
    float32 [steps].
    """
    if name == "sgd":
        return optax.sgd(rate)
    if name in ("momentum", "nag"):
        return optax.sgd(rate, values["rho"], nesterov=name == "nag")
    if name == "adagrad":
        return optax.adagrad(rate, values["initial_accumulator"], eps=0.0)
    if name == "adadelta":
        return optax.adadelta(rate, values["rho"], eps=values["epsilon"])
    return of_rule(family.rule_of(name, values), rate, table)


def optimizer(setup: Setup) -> optax.GradientTransformation:
    """The optimizer that the point names."""
    chosen = family.choice(setup.point)
    num_steps = max(setup.workload.step_hint, 1)
    found = family.table_of(chosen.name, chosen.values, num_steps)
    table = {name: column.astype(np.float32) for name, column in found.items()}
    return transformation(chosen.name, chosen.values, setup.rate, table)


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    optimizer, schedule=family.schedule_of
)
