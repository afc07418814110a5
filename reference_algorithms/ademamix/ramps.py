"""How AdEMAMix lets its slow average in: two ramps over the first steps."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_SHIFT = 1e-8  # keeps the logarithm of a decay of 0 finite, as published


@dataclass(frozen=True)
class Ramps:
    """The weight `alpha` of the slow average, and its decay `beta3`, by the step.

    Steps count from 1; `array` is numpy for Python integers, `jax.numpy` for traced ones.
    """

    beta1: float  # where the slow average's decay starts
    beta3: float
    alpha: float
    num_steps: int  # 0: no ramps

    @classmethod
    def of(cls, point: Any, step_hint: int) -> "Ramps":
        """From `alpha`, `one_minus_beta3`, and `ramp_steps` + `ramp_factor` * step hint."""
        num_steps = getattr(point, "ramp_steps", 0)
        num_steps += getattr(point, "ramp_factor", 0.0) * step_hint
        beta1, beta3 = 1.0 - point.one_minus_beta1, 1.0 - point.one_minus_beta3
        return cls(beta1, beta3, float(point.alpha), int(num_steps))

    def alpha_at(self, step: Any, array: Any = np) -> Any:
        """From 0 straight to `alpha`."""
        return self.alpha * self._done(step, array)

    def beta3_at(self, step: Any, array: Any = np) -> Any:
        """From `beta1` to `beta3`, straight in half-lives."""
        done = self._done(step, array)
        half_life = (1.0 - done) * _half_life(self.beta1)
        half_life = half_life + done * _half_life(self.beta3)
        ramp = 0.5 ** (1.0 / (1.0 + half_life))
        return array.where(done < 1.0, ramp, self.beta3)

    def _done(self, step: Any, array: Any) -> Any:
        return array.minimum(step / max(self.num_steps, 1), 1.0)


def _half_life(beta: float) -> float:
    return math.log(0.5) / math.log(beta + _SHIFT) - 1.0
