"""Learning rates that change with the epoch; see README.md for what the study did."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

SCHEDULES = ("constant", "cosine", "cosine_wr", "ltr")
FAITHFUL, CLEAN = "faithful", "clean"  # whether the first epoch stays outside
FORMS = (FAITHFUL, CLEAN)
_FIRST_PERIOD = (
    10  # epochs until the first restart; every period is twice the one before
)
_RAMP = 0.1  # of all epochs: the trapezoid's way up, and its way down


def factors(schedule: str, num_epochs: int, form: str = FAITHFUL) -> np.ndarray:
    """What the learning rate is multiplied with in each epoch: float64 [num_epochs].

    In the faithful form the first epoch has the factor 1, whatever the schedule says. In
    the clean form the trapezoid's warm-up begins with that epoch.
    """
    shift = 1 if schedule == "ltr" and form == CLEAN else 0
    found = [_factor(schedule, epoch, num_epochs, shift) for epoch in range(num_epochs)]
    if form == FAITHFUL:
        found[0] = 1.0
    return np.array(found)


def _factor(schedule: str, epoch: int, num_epochs: int, shift: int) -> float:
    if schedule == "cosine":
        return _half_cosine(epoch / num_epochs)
    if schedule == "cosine_wr":
        since, period = epoch, _FIRST_PERIOD
        while since >= period:
            since, period = since - period, 2 * period
        return _half_cosine(since / period)
    if schedule == "ltr":
        ramp = _RAMP * num_epochs
        falling = epoch - (num_epochs - ramp)
        if falling > 0:
            return 1 - falling / (ramp + 1)
        return min((epoch + shift) / ramp, 1.0)
    return 1.0


def _half_cosine(share: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class EpochSchedule:
    """A learning rate with a factor for each epoch; after the last one it stays."""

    learning_rate: float
    factors: tuple[float, ...]
    steps_per_epoch: int

    def __call__(self, step: Any, xp: Any = np) -> Any:
        """The rate after `step` updates; see `_shared.schedules.Schedule`."""
        rates = self.learning_rate * np.array(self.factors)
        if len(rates) == 1:
            return xp.asarray(rates)[0]
        epoch = xp.minimum(step // self.steps_per_epoch, len(rates) - 1)
        return xp.asarray(rates)[epoch]
