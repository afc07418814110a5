"""A submission in JAX, made of an algorithm's rule as an optax transformation."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax

from algoperf import spec

from . import batch_sizes, functions, schedules, training_jax
from .schedules import Schedule

EPSILON = 1e-8  # of the Adam family


class Setup(functions.Setup):
    """What an algorithm's rule is built from, in the words of optax."""

    @property
    def rate(self) -> optax.Schedule:
        """The rate by the optimizer's counter of updates, computed on the device.

        Holds the schedule alone: a checkpoint saves what an optimizer's functions hold,
        and must find neither the initial parameters nor a workload there.
        """
        schedule = self.schedule
        return lambda count: schedule(count, jnp)

    @property
    def adam(self) -> dict[str, Any]:
        """Settings of the Adam family: `b1`, `b2`, `eps`, `weight_decay`."""
        return {
            "b1": 1.0 - self.point.one_minus_beta1,
            "b2": self.point.beta2,
            "eps": EPSILON,
            "weight_decay": self.point.weight_decay,
        }


def plain_gradient(setup: Setup) -> training_jax.ValueAndGrad:
    """The gradient at the parameters: what most algorithms follow."""
    del setup
    return training_jax.plain_gradient


def submission(
    rule: Callable[[Setup], optax.GradientTransformation],
    *,
    schedule: Callable[[Any, int], Schedule] = schedules.warmup_cosine,
    gradient: Callable[[Setup], training_jax.ValueAndGrad] = plain_gradient,
    state_shardings: Callable[[], Any] = lambda: None,
    point: Callable[[spec.Hyperparameters], Any] = functions.as_given,
    get_batch_size: spec.GetBatchSize = batch_sizes.get_batch_size,
) -> functions.Functions:
    """`get_batch_size`, `init_optimizer_state`, `update_params`, `data_selection`.

    rule: optax's transformation of gradients into updates. schedule: from the point and
    the step hint. gradient: what is followed instead of the plain gradient.
    state_shardings: see `training_jax.init`. point: the hyperparameters in use.
    """

    def init(start: functions.Start) -> spec.OptimizerState:
        rate = schedule(start.point, start.workload.step_hint)
        setup = Setup(**vars(start), schedule=rate)
        return training_jax.init(
            start.workload,
            rule(setup),
            start.params,
            start.point,
            value_and_grad=gradient(setup),
            state_shardings=state_shardings(),
        )

    return functions.submission(
        init, training_jax.take_step, point=point, get_batch_size=get_batch_size
    )
