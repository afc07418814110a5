"""The update rules that no library has in both frameworks, written once against the array API.

What depends on the number of a step alone, such as the correction of a bias, is computed in
double precision on the host (`table`); the rest is elementwise (`update`). Below, g is the gradient
and t the step, counted from 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Slots = dict[str, Any]  # arrays of the parameter's shape, by name
Numbers = Mapping[str, Any]  # of a step: `t`, `rate`, and the columns of `table`

SMALLEST_LENGTH = 5.0  # of RAdam's average; below, it does not adapt
_NADAM_DECAY, _NADAM_SPEED = 0.96, 0.004
COPY = None  # the start of a slot that begins as a copy of its parameter


class Rule:
    """An update rule of one parameter."""

    def slots(self) -> dict[str, float | None]:
        """The start values of the state's arrays, by name; `COPY` of the parameter."""
        raise NotImplementedError

    def table(self, num_steps: int) -> dict[str, np.ndarray]:
        """Numbers of the steps 1 … num_steps: float64 [num_steps] by name."""
        del num_steps
        return {}

    def update(
        self, xp: Any, param: Any, gradient: Any, slots: Slots, numbers: Numbers
    ) -> tuple[Any, Slots]:
        """What is subtracted from the parameter, and the new slots.

        xp: an array namespace. All arrays have the parameter's shape.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Momentum(Rule):
    """v = rho v + g; moves by rate v. Inside of Lookahead; alone the libraries' is used."""

    rho: float

    def slots(self) -> dict[str, float | None]:
        """See `Rule`."""
        return {"velocity": 0.0}

    def update(
        self, xp: Any, param: Any, gradient: Any, slots: Slots, numbers: Numbers
    ) -> tuple[Any, Slots]:
        """See `Rule`."""
        velocity = self.rho * slots["velocity"] + gradient
        return numbers["rate"] * velocity, {"velocity": velocity}


@dataclass(frozen=True)
class RMSProp(Rule):
    """s = rho s + (1 - rho) g², from s = 1; moves by rate g / sqrt(s + epsilon)."""

    rho: float
    epsilon: float

    def slots(self) -> dict[str, float | None]:
        """See `Rule`."""
        return {"square": 1.0}

    def update(
        self, xp: Any, param: Any, gradient: Any, slots: Slots, numbers: Numbers
    ) -> tuple[Any, Slots]:
        """See `Rule`."""
        square = self.rho * slots["square"] + (1 - self.rho) * gradient * gradient
        delta = numbers["rate"] * gradient / xp.sqrt(square + self.epsilon)
        return delta, {"square": square}


@dataclass(frozen=True)
class Adam(Rule):
    """m and s are running means of g and g²; epsilon is not corrected for the bias.

    Moves by rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(s) + epsilon).
    """

    beta1: float
    beta2: float
    epsilon: float
    has_maximum: bool = (
        False  # AMSGrad: the largest s so far, uncorrected, takes its place
    )

    def slots(self) -> dict[str, float | None]:
        """See `Rule`."""
        found: dict[str, float | None] = {"mean": 0.0, "square": 0.0}
        return found | ({"largest": 0.0} if self.has_maximum else {})

    def table(self, num_steps: int) -> dict[str, np.ndarray]:
        """See `Rule`: `mean_share` 1 - beta1^t, `square_share` 1 - beta2^t."""
        t = np.arange(1, num_steps + 1)
        return {
            "mean_share": 1 - self.beta1**t,
            "square_share": 1 - self.beta2**t,
            "correction": np.sqrt(1 - self.beta2**t) / (1 - self.beta1**t),
        }

    def update(
        self, xp: Any, param: Any, gradient: Any, slots: Slots, numbers: Numbers
    ) -> tuple[Any, Slots]:
        """See `Rule`."""
        slots = self.moments(xp, gradient, slots)
        denominator = xp.sqrt(slots["largest" if self.has_maximum else "square"])
        rate = numbers["rate"] * numbers["correction"]
        return rate * slots["mean"] / (denominator + self.epsilon), slots

    def moments(self, xp: Any, gradient: Any, slots: Slots) -> Slots:
        """The new running means, and the largest square where that is kept."""
        mean = self.beta1 * slots["mean"] + (1 - self.beta1) * gradient
        square = self.beta2 * slots["square"] + (1 - self.beta2) * gradient * gradient
        found = {"mean": mean, "square": square}
        if self.has_maximum:
            found["largest"] = xp.maximum(slots["largest"], square)
        return found


@dataclass(frozen=True, kw_only=True)
class AdaBound(Adam):
    """Adam (AMSBound: AMSGrad) whose rate of each element is clipped.

    The bounds close in on final_lr, which a schedule scales as it scales the rate.
    """

    learning_rate: float  # before any schedule
    final_lr: float
    gamma: float

    def table(self, num_steps: int) -> dict[str, np.ndarray]:
        """See `Rule`: the bounds too, relative to `final_lr`."""
        t = np.arange(1, num_steps + 1)
        return {
            **super().table(num_steps),
            "lower": 1 - 1 / (self.gamma * t + 1),
            "upper": 1 + 1 / (self.gamma * t),
        }

    def update(
        self, xp: Any, param: Any, gradient: Any, slots: Slots, numbers: Numbers
    ) -> tuple[Any, Slots]:
        """See `Rule`."""
        slots = self.moments(xp, gradient, slots)
        denominator = xp.sqrt(slots["largest" if self.has_maximum else "square"])
        rate = numbers["rate"] * numbers["correction"]
        final = numbers["rate"] * (self.final_lr / self.learning_rate)
        rates = rate / (denominator + self.epsilon)
        lower, upper = final * numbers["lower"], final * numbers["upper"]
        return xp.clip(rates, lower, upper) * slots["mean"], slots


@dataclass(frozen=True)
class NAdam(Adam):
    """Adam with Nesterov's look ahead, by Dozat's schedule of the momentum.

    With mu_t = beta1 (1 - 0.96^(0.004 t) / 2), and P_t the product of mu_1 … mu_t, moves by
    rate (mu_{t+1} m / (1 - P_{t+1}) + (1 - mu_t) g / (1 - P_t)) / (sqrt(s / (1 - beta2^t))
    + epsilon).
    """

    def table(self, num_steps: int) -> dict[str, np.ndarray]:
        """See `Rule`: the weights of the mean and of the gradient too."""
        t = np.arange(1, num_steps + 2)
        momentum = self.beta1 * (1 - 0.5 * _NADAM_DECAY ** (_NADAM_SPEED * t))
        rest = 1 - np.cumprod(momentum)
        return {
            **super().table(num_steps),
            "mean_weight": momentum[1:] / rest[1:],
            "gradient_weight": (1 - momentum[:-1]) / rest[:-1],
        }

    def update(
        self, xp: Any, param: Any, gradient: Any, slots: Slots, numbers: Numbers
    ) -> tuple[Any, Slots]:
        """See `Rule`."""
        slots = self.moments(xp, gradient, slots)
        ahead = numbers["mean_weight"] * slots["mean"]
        ahead = ahead + numbers["gradient_weight"] * gradient
        root = xp.sqrt(slots["square"] / numbers["square_share"])
        return numbers["rate"] * ahead / (root + self.epsilon), slots


@dataclass(frozen=True)
class RAdam(Adam):
    """Adam that adapts once its average is long enough, and is rectified by a factor r.

    Moves by rate r m' / (sqrt(s') + epsilon), with m' and s' corrected for their bias; before
    that by rate m'.
    """

    def table(self, num_steps: int) -> dict[str, np.ndarray]:
        """See `Rule`: `adapts` (0 or 1) and `rectification` too."""
        t = np.arange(1, num_steps + 1)
        longest = 2 / (1 - self.beta2) - 1
        length = longest - 2 * t * self.beta2**t / (1 - self.beta2**t)
        adapts = length > SMALLEST_LENGTH
        safe = np.where(adapts, length, longest)  # r is 1 there
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = (safe - 4) * (safe - 2) * longest
            ratio = ratio / ((longest - 4) * (longest - 2) * safe)
        return {
            **super().table(num_steps),
            "adapts": adapts.astype(float),
            "rectification": np.where(adapts, np.sqrt(np.maximum(ratio, 0)), 1.0),
        }

    def update(
        self, xp: Any, param: Any, gradient: Any, slots: Slots, numbers: Numbers
    ) -> tuple[Any, Slots]:
        """See `Rule`."""
        slots = self.moments(xp, gradient, slots)
        root = xp.sqrt(slots["square"] / numbers["square_share"]) + self.epsilon
        denominator = numbers["adapts"] * root + (1 - numbers["adapts"])
        rate = numbers["rate"] * numbers["rectification"] / numbers["mean_share"]
        return rate * slots["mean"] / denominator, slots


@dataclass(frozen=True)
class AdaBelief(Adam):
    """Adam with s the running mean of (g - m)², plus epsilon in each step; not rectified."""

    def update(
        self, xp: Any, param: Any, gradient: Any, slots: Slots, numbers: Numbers
    ) -> tuple[Any, Slots]:
        """See `Rule`."""
        mean = self.beta1 * slots["mean"] + (1 - self.beta1) * gradient
        surprise = gradient - mean
        square = self.beta2 * slots["square"] + (1 - self.beta2) * surprise * surprise
        square = square + self.epsilon
        root = xp.sqrt(square / numbers["square_share"]) + self.epsilon
        delta = numbers["rate"] / numbers["mean_share"] * mean / root
        return delta, {"mean": mean, "square": square}


@dataclass(frozen=True)
class Lookahead(Rule):
    """Another rule's fast steps; after every k-th, slow weights follow by alpha.

    The fast weights then start from the slow ones, with the state that they have.
    """

    inner: Rule
    k: int
    alpha: float

    def slots(self) -> dict[str, float | None]:
        """See `Rule`."""
        return {**self.inner.slots(), "slow": COPY}

    def table(self, num_steps: int) -> dict[str, np.ndarray]:
        """See `Rule`."""
        return self.inner.table(num_steps)

    def update(
        self, xp: Any, param: Any, gradient: Any, slots: Slots, numbers: Numbers
    ) -> tuple[Any, Slots]:
        """See `Rule`."""
        slow = slots["slow"]
        delta, found = self.inner.update(xp, param, gradient, slots, numbers)
        is_due = 1.0 * (numbers["t"] % self.k == 0)
        moved = slow + is_due * self.alpha * (param - delta - slow)
        # One of the two factors is 0, so nothing is rounded.
        delta = is_due * (param - moved) + (1 - is_due) * delta
        return delta, {**found, "slow": moved}
