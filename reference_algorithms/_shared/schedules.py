"""Learning rate schedules: pure functions of the step, the same for every framework.

A schedule takes the number of updates already made (0 at the first step) and an array
namespace: numpy for Python integers on the host, `jax.numpy` for traced counters on the
device. Beyond its last phase a schedule stays at its final value.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from algoperf import spec


class Schedule(Protocol):
    """Learning rate by step."""

    def __call__(self, step: Any, xp: Any = np) -> Any:
        """The learning rate of the update after `step` updates.

        step: scalar integer, >= 0, of the namespace `xp` (or a Python integer).
        """
        ...


def _fraction(step: Any, start: int, length: int, xp: Any) -> Any:
    """Share of the phase [start, start + length) that has passed: 0 before, 1 after."""
    if length == 0:
        return xp.where(step < start, 0.0, 1.0)
    return xp.clip((step - start) / length, 0.0, 1.0)


@dataclass(frozen=True)
class WarmupCosine:
    """Linear from 0 to `peak` over the warm-up, then half a cosine down to 0."""

    peak: float
    num_warmup_steps: int
    num_decay_steps: int

    def __call__(self, step: Any, xp: Any = np) -> Any:
        """See `Schedule`."""
        warmup = self.peak * _fraction(step, 0, self.num_warmup_steps, xp)
        done = _fraction(step, self.num_warmup_steps, self.num_decay_steps, xp)
        cosine = self.peak * 0.5 * (1.0 + xp.cos(xp.pi * done))
        return xp.where(step < self.num_warmup_steps, warmup, cosine)


@dataclass(frozen=True)
class WarmupLinear:
    """Linear from 0 to `peak`, linear to `peak * end_factor`, constant from then on."""

    peak: float
    num_warmup_steps: int
    num_decay_steps: int
    end_factor: float

    def __call__(self, step: Any, xp: Any = np) -> Any:
        """See `Schedule`."""
        warmup = self.peak * _fraction(step, 0, self.num_warmup_steps, xp)
        done = _fraction(step, self.num_warmup_steps, self.num_decay_steps, xp)
        linear = self.peak * (1.0 - done * (1.0 - self.end_factor))
        return xp.where(step < self.num_warmup_steps, warmup, linear)


def _require(hyperparameters: spec.Hyperparameters) -> None:
    if hyperparameters is None:
        raise ValueError(
            "This algorithm was given no hyperparameters (self-tuning), but it needs a "
            "learning_rate and more. Run it with external tuning and one of the search "
            "spaces in its folder."
        )


def warmup_cosine(
    hyperparameters: spec.Hyperparameters, step_hint: int
) -> WarmupCosine:
    """From `learning_rate` and `warmup_factor`; reaches 0 at the step hint."""
    _require(hyperparameters)
    num_warmup_steps = int(hyperparameters.warmup_factor * step_hint)
    return WarmupCosine(
        float(hyperparameters.learning_rate),
        num_warmup_steps,
        max(step_hint - num_warmup_steps, 1),
    )


def warmup_linear(
    hyperparameters: spec.Hyperparameters, step_hint: int
) -> WarmupLinear:
    """From `learning_rate`, `warmup_factor`, `decay_steps_factor` and `end_factor`.

    `decay_steps_factor` is the share of the steps after the warm-up in which it decays.
    """
    _require(hyperparameters)
    num_warmup_steps = int(hyperparameters.warmup_factor * step_hint)
    num_decay_steps = int(
        (step_hint - num_warmup_steps) * hyperparameters.decay_steps_factor
    )
    return WarmupLinear(
        float(hyperparameters.learning_rate),
        num_warmup_steps,
        num_decay_steps,
        float(hyperparameters.end_factor),
    )
