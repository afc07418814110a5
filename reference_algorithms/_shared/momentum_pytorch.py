"""Momentum in PyTorch: torch.optim.SGD without damping, for heavy ball and Nesterov."""

import functools

import torch

from . import schedules
from .factory_pytorch import Setup, submission
from .functions import Functions


def _rule(setup: Setup, *, nesterov: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        setup.params.parameters(),
        lr=1.0,
        momentum=1.0 - setup.point.one_minus_beta1,
        weight_decay=setup.point.weight_decay,
        nesterov=nesterov,
        fused=True,
    )


def momentum(*, nesterov: bool) -> Functions:
    """The submission; nesterov: whether steps look ahead.

    Warm-up, linear decay, then a constant rate.
    """
    rule = functools.partial(_rule, nesterov=nesterov)
    return submission(rule, schedule=schedules.warmup_linear)
