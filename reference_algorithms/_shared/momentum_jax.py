"""Momentum in JAX: optax's trace after L2 decay, for heavy ball and Nesterov."""

import functools

import optax

from . import schedules
from .factory_jax import Setup, submission
from .functions import Functions


def _rule(setup: Setup, *, nesterov: bool) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(setup.point.weight_decay),
        optax.sgd(
            setup.rate,
            momentum=1.0 - setup.point.one_minus_beta1,
            nesterov=nesterov,
        ),
    )


def momentum(*, nesterov: bool) -> Functions:
    """The submission; nesterov: whether steps look ahead.

    Warm-up, linear decay, then a constant rate.
    """
    rule = functools.partial(_rule, nesterov=nesterov)
    return submission(rule, schedule=schedules.warmup_linear)
