"""Float64 numpy transcriptions of the Crowded Valley study's fifteen update rules.

Written from the study's table of rules, step by step and with plain loops, without a look at the
code under test: each class keeps the state that its rule names.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

Array = np.ndarray


def _adam_scale(t, b1, b2):
    return math.sqrt(1 - b2**t) / (1 - b1**t)


class Rule:
    """`step` returns the new parameter; t counts from 1, lr is the scheduled rate."""

    def __init__(self, start: Array, **h: float) -> None:
        self.h = h
        self.z = {}
        self.start = start

    def get(self, name: str, first: float = 0.0) -> Array:
        return self.z.setdefault(name, np.full_like(self.start, first))

    def step(self, x: Array, g: Array, t: int, lr: float) -> Array:
        raise NotImplementedError


class SGD(Rule):
    def step(self, x, g, t, lr):
        return x - lr * g


class Momentum(Rule):
    def step(self, x, g, t, lr):
        self.z["v"] = self.h["rho"] * self.get("v") + g
        return x - lr * self.z["v"]


class NAG(Rule):
    def step(self, x, g, t, lr):
        self.z["v"] = self.h["rho"] * self.get("v") + g
        return x - lr * (g + self.h["rho"] * self.z["v"])


class AdaGrad(Rule):
    def step(self, x, g, t, lr):
        self.z["s"] = self.get("s", self.h["initial_accumulator"]) + g**2
        return x - lr * g / np.sqrt(self.z["s"])


class AdaDelta(Rule):
    def step(self, x, g, t, lr):
        rho, eps = self.h["rho"], self.h["epsilon"]
        s = rho * self.get("s") + (1 - rho) * g**2
        u = self.get("u")
        delta = g * np.sqrt(u + eps) / np.sqrt(s + eps)
        self.z |= {"s": s, "u": rho * u + (1 - rho) * delta**2}
        return x - lr * delta


class RMSProp(Rule):
    def step(self, x, g, t, lr):
        rho = self.h["rho"]
        self.z["s"] = rho * self.get("s", 1.0) + (1 - rho) * g**2
        return x - lr * g / np.sqrt(self.z["s"] + self.h["epsilon"])


class Adam(Rule):
    has_max = False

    def moments(self, g):
        b1, b2 = self.h["beta1"], self.h["beta2"]
        m = self.z["m"] = b1 * self.get("m") + (1 - b1) * g
        s = self.z["s"] = b2 * self.get("s") + (1 - b2) * g**2
        if self.has_max:
            s = self.z["max"] = np.maximum(self.get("max"), s)
        return b1, b2, m, s

    def step(self, x, g, t, lr):
        b1, b2, m, s = self.moments(g)
        return x - lr * _adam_scale(t, b1, b2) * m / (np.sqrt(s) + self.h["epsilon"])


class AMSGrad(Adam):
    has_max = True


class AdaBound(Adam):
    def step(self, x, g, t, lr):
        b1, b2, m, s = self.moments(g)
        gamma = self.h["gamma"]
        goal = self.h["final_lr"] * lr / self.h["learning_rate"]
        low = goal * (1 - 1 / (gamma * t + 1))
        high = goal * (1 + 1 / (gamma * t))
        rates = lr * _adam_scale(t, b1, b2) / (np.sqrt(s) + self.h["epsilon"])
        return x - np.minimum(np.maximum(rates, low), high) * m


class AMSBound(AdaBound):
    has_max = True


class NAdam(Adam):
    def step(self, x, g, t, lr):
        b1, b2, m, s = self.moments(g)

        def mu(i):
            return b1 * (1 - 0.5 * 0.96 ** (0.004 * i))

        now = math.prod(mu(i) for i in range(1, t + 1))
        ahead = mu(t + 1) * m / (1 - now * mu(t + 1)) + (1 - mu(t)) * g / (1 - now)
        return x - lr * ahead / (np.sqrt(s / (1 - b2**t)) + self.h["epsilon"])


class RAdam(Adam):
    def step(self, x, g, t, lr):
        b1, b2, m, s = self.moments(g)
        m = m / (1 - b1**t)
        top = 2 / (1 - b2) - 1
        rho = top - 2 * t * b2**t / (1 - b2**t)
        if rho <= 5:
            return x - lr * m
        r = ((rho - 4) * (rho - 2) * top) / ((top - 4) * (top - 2) * rho)
        root = np.sqrt(s / (1 - b2**t)) + self.h["epsilon"]
        return x - lr * math.sqrt(r) * m / root


class AdaBelief(Rule):
    def step(self, x, g, t, lr):
        b1, b2, eps = self.h["beta1"], self.h["beta2"], self.h["epsilon"]
        m = self.z["m"] = b1 * self.get("m") + (1 - b1) * g
        s = self.z["s"] = b2 * self.get("s") + (1 - b2) * (g - m) ** 2 + eps
        return x - lr * (m / (1 - b1**t)) / (np.sqrt(s / (1 - b2**t)) + eps)


def lookahead(inner: type[Rule]) -> type[Rule]:
    """The rule with slow weights around it."""

    class Lookahead(Rule):
        def __init__(self, start, **h):
            super().__init__(start, **h)
            self.inner, self.slow = inner(start, **h), start.copy()

        def step(self, x, g, t, lr):
            x = self.inner.step(x, g, t, lr)
            if t % self.h["k"] == 0:
                self.slow = self.slow + self.h["alpha"] * (x - self.slow)
                x = self.slow.copy()
            return x

    return Lookahead


RULES: Mapping[str, type[Rule]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "nag": NAG,
    "adagrad": AdaGrad,
    "adadelta": AdaDelta,
    "rmsprop": RMSProp,
    "adam": Adam,
    "amsgrad": AMSGrad,
    "adabound": AdaBound,
    "amsbound": AMSBound,
    "nadam": NAdam,
    "radam": RAdam,
    "adabelief": AdaBelief,
    "lookahead_momentum": lookahead(Momentum),
    "lookahead_radam": lookahead(RAdam),
}


def trajectory(
    name: str,
    start: Array,
    gradients: list[Array],
    values: Mapping[str, float],
    rate: Callable[[int], float],
) -> list[Array]:
    """The parameter after each step; rate: of the step, counted from 0."""
    rule, x, path = RULES[name](start, **values), start, []
    for t, g in enumerate(gradients, start=1):
        x = rule.step(x, g, t, rate(t - 1))
        path.append(x)
    return path
