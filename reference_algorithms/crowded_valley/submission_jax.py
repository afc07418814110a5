"""The optimizers of the Crowded Valley study in JAX. See README.md."""

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
    rule: Rule, rate: optax.Schedule, num_steps: int
) -> optax.GradientTransformation:
    """The rule as a transformation of gradients; num_steps: the length of its table."""
    table = {k: v.astype(np.float32) for k, v in rule.table(num_steps).items()}

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
        row = jnp.minimum(state.num_updates, num_steps - 1)
        numbers = {name: jnp.asarray(column)[row] for name, column in table.items()}
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


def optimizer(setup: Setup) -> optax.GradientTransformation:
    """The optimizer that the point names."""
    chosen = family.choice(setup.point)
    values, rate = chosen.values, setup.rate
    if chosen.name == "sgd":
        return optax.sgd(rate)
    if chosen.name in ("momentum", "nag"):
        return optax.sgd(rate, values["rho"], nesterov=chosen.name == "nag")
    if chosen.name == "adagrad":
        return optax.adagrad(rate, values["initial_accumulator"], eps=0.0)
    if chosen.name == "adadelta":
        return optax.adadelta(rate, values["rho"], eps=values["epsilon"])
    return of_rule(chosen.rule(), rate, max(setup.workload.step_hint, 1))


get_batch_size, init_optimizer_state, update_params, data_selection = submission(
    optimizer, schedule=family.schedule_of
)
