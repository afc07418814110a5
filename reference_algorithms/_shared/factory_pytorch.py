"""A submission in PyTorch, made of an algorithm's rule as a `torch.optim.Optimizer`."""

import functools
from collections.abc import Callable
from typing import Any

import torch

from algoperf import spec

from . import batch_sizes, schedules, training_pytorch
from . import functions as parts
from .schedules import Schedule

EPSILON = 1e-8  # of the Adam family


class Setup(parts.Setup):
    """What an algorithm's rule is built from, in the words of `torch.optim`.

    The rule's own rate must be 1.0: LambdaLR multiplies it with the schedule's.
    """

    @property
    def adam(self) -> dict[str, Any]:
        """Settings of the Adam family: `betas`, `eps`, `weight_decay`; `lr` is 1.0."""
        return {
            "lr": 1.0,
            "betas": (1.0 - self.point.one_minus_beta1, self.point.beta2),
            "eps": EPSILON,
            "weight_decay": self.point.weight_decay,
        }


def submission(
    rule: Callable[[Setup], torch.optim.Optimizer],
    *,
    schedule: Callable[[Any, int], Schedule] = schedules.warmup_cosine,
    gradient: training_pytorch.FillGradients = training_pytorch.plain_gradient,
    point: Callable[[spec.Hyperparameters], Any] = parts.as_given,
    get_batch_size: spec.GetBatchSize = batch_sizes.get_batch_size,
) -> parts.Functions:
    """`get_batch_size`, `init_optimizer_state`, `update_params`, `data_selection`.

    rule: the optimizer of the parameters of `setup.params`, a module. schedule: from the
    point and the step hint. gradient: what is followed instead of the plain gradient.
    point: the hyperparameters in use.
    """

    def init(start: parts.Start) -> spec.OptimizerState:
        rate = schedule(start.point, start.workload.step_hint)
        return training_pytorch.init(rule(Setup(**vars(start), schedule=rate)), rate)

    take_step = functools.partial(training_pytorch.take_step, fill_gradients=gradient)
    return parts.submission(init, take_step, point=point, get_batch_size=get_batch_size)
