"""Float64 numpy transcriptions of the rules published since 2023.

A rule has the state of one tensor (Prodigy: of all), and `update(theta, g, t)`, t = 1, 2, …
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Point = Mapping[str, float]
Rate = Callable[[int], float]  # by the number of updates already made
EPSILON = 1e-8


class AdamW:
    """The base of several others; `numerator` is its corrected first moment."""

    def __init__(self, point: Point, rate: Rate) -> None:
        self.point, self.rate = point, rate
        self.b1, self.b2 = 1 - point["one_minus_beta1"], point["beta2"]
        self.decay = point["weight_decay"]
        self.m: Any = 0.0
        self.v: Any = 0.0

    def numerator(self, g: np.ndarray, t: int) -> np.ndarray:
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.v = self.b2 * self.v + (1 - self.b2) * g**2
        return self.m / (1 - self.b1**t)

    def denominator(self, t: int) -> np.ndarray:
        return np.sqrt(self.v / (1 - self.b2**t)) + EPSILON

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        direction = self.numerator(g, t) / self.denominator(t)
        return theta - self.rate(t - 1) * (direction + self.decay * theta)


class AdEMAMix(AdamW):
    """With the ramps of alpha and beta3 over `num_steps`, 0 for none."""

    def __init__(self, point: Point, rate: Rate, num_steps: int) -> None:
        super().__init__(point, rate)
        self.num_steps = num_steps
        self.slow: Any = 0.0

    def ramps(self, t: int) -> tuple[float, float]:
        """alpha and beta3 at step t."""
        alpha, beta3 = self.point["alpha"], 1 - self.point["one_minus_beta3"]
        if t >= self.num_steps:
            return alpha, beta3
        share = t / self.num_steps
        lives = [math.log(0.5) / math.log(b + 1e-8) - 1 for b in (self.b1, beta3)]
        life = (1 - share) * lives[0] + share * lives[1]
        return alpha * share, 0.5 ** (1 / (1 + life))

    def numerator(self, g: np.ndarray, t: int) -> np.ndarray:
        alpha, beta3 = self.ramps(t)
        self.slow = beta3 * self.slow + (1 - beta3) * g
        return super().numerator(g, t) + alpha * self.slow


class Lion(AdamW):
    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        eta = self.rate(t - 1)
        theta = theta * (1 - eta * self.decay)
        theta = theta - eta * np.sign(self.b1 * self.m + (1 - self.b1) * g)
        self.m = self.b2 * self.m + (1 - self.b2) * g
        return theta


class CautiousNadamW(AdamW):
    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        self.numerator(g, t)
        ahead = (self.b1 * self.m + (1 - self.b1) * g) / (1 - self.b1**t)
        mask = (ahead * g > 0).astype(float)
        mask = mask / max(mask.mean(), 1e-3)
        u = ahead * mask / self.denominator(t)
        decayed = self.decay * theta
        if self.point.get("cautious_decay"):
            decayed = decayed * (u * theta >= 0)
        return theta - self.rate(t - 1) * (u + decayed)


class Mars(AdamW):
    last: Any = None

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        c = g
        if g.ndim >= 2:
            last = g if self.last is None else self.last
            c = g + self.point["gamma"] * self.b1 / (1 - self.b1) * (g - last)
            c = c / max(1.0, np.linalg.norm(c))
        self.last = g
        return super().update(theta, c, t)


class DiLoCo(AdamW):
    def __init__(self, point: Point, rate: Rate, theta: np.ndarray) -> None:
        super().__init__(point, rate)
        self.slow = theta
        self.buffer: Any = 0.0

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        theta = super().update(theta, g, t)
        if t % self.point["outer_period"]:
            return theta
        momentum, rate = self.point["outer_momentum"], self.point["outer_learning_rate"]
        delta = self.slow - theta
        self.buffer = momentum * self.buffer + delta
        self.slow = self.slow - rate * (delta + momentum * self.buffer)
        return self.slow


class NorMuon(AdamW):
    """Of a matrix; `output_axis` is that of its neurons."""

    def __init__(
        self, point: Point, rate: Rate, matrix: tuple[int, int], output_axis: int
    ) -> None:
        super().__init__(point, rate)
        self.matrix, self.output_axis = matrix, output_axis
        self.r: Any = 0.0

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        beta, beta2 = 1 - self.point["one_minus_momentum"], self.point["neuron_beta2"]
        self.m = beta * self.m + (1 - beta) * g.reshape(self.matrix)
        left, singular, right = np.linalg.svd(self.m, full_matrices=False)
        s = singular / np.linalg.norm(self.m)
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        o = (left * s) @ right
        inputs = 1 - self.output_axis
        self.r = beta2 * self.r + (1 - beta2) * (o**2).mean(inputs, keepdims=True)
        o = o / (np.sqrt(self.r) + EPSILON)
        o = 0.2 * math.sqrt(o.size) / np.linalg.norm(o) * o
        eta = self.rate(t - 1)
        return theta * (1 - eta * self.decay) - eta * o.reshape(theta.shape)


class Soap(AdamW):
    """`matrix`: as what the tensor is taken; None: a vector, which follows Adam."""

    def __init__(
        self,
        point: Point,
        rate: Rate,
        matrix: tuple[int, int] | None,
        *,
        sorts: bool = True,
    ) -> None:
        super().__init__(point, rate)
        self.matrix, self.sorts = matrix, sorts
        self.statistics: list[Any] = [0.0, 0.0]
        self.bases: list[np.ndarray] = []

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        if self.matrix is None:
            return self._vector_update(theta, g, t - 1)
        grad, k, beta = g.reshape(self.matrix), t - 1, self.point["statistics_beta"]
        for side, x in enumerate((grad, grad.T)):
            self.statistics[side] = beta * self.statistics[side] + (1 - beta) * x @ x.T
        if k == 0:
            self.bases = [np.linalg.eigh(x)[1][:, ::-1] for x in self.statistics]
            return theta
        left, right = self.bases
        self.m = self.b1 * self.m + (1 - self.b1) * grad
        self.v = self.b2 * self.v + (1 - self.b2) * (left.T @ grad @ right) ** 2
        u = left.T @ self.m @ right / (1 - self.b1**k) / self.denominator(k)
        u = (left @ u @ right.T).reshape(theta.shape)
        if k % self.point["refresh_every"] == 0:
            self._refresh()
        return theta - self.rate(k) * (u + self.decay * theta)

    def _vector_update(self, theta: np.ndarray, g: np.ndarray, k: int) -> np.ndarray:
        """Adam; corrections count updates, the schedule counts gradients."""
        if k == 0:
            return theta
        direction = self.numerator(g, k) / self.denominator(k)
        return theta - self.rate(k) * (direction + self.decay * theta)

    def _refresh(self) -> None:
        for side in (0, 1):
            basis, statistic = self.bases[side], self.statistics[side]
            if self.sorts:
                quotients = ((statistic @ basis) * basis).sum(0)
                order = np.argsort(-quotients)
                basis = basis[:, order]
                self.v = np.take(self.v, order, axis=side)
            self.bases[side] = np.linalg.qr(statistic @ basis)[0]


class Prodigy:
    """Of all tensors together."""

    def __init__(
        self, point: Point, rate: Rate, theta: Mapping[str, np.ndarray]
    ) -> None:
        self.point, self.rate, self.start = point, rate, dict(theta)
        zeros = {n: np.zeros_like(x) for n, x in theta.items()}
        self.m, self.v, self.s = dict(zeros), dict(zeros), dict(zeros)
        self.r, self.d = 0.0, 1e-6

    def update(self, theta: Any, grads: Any, t: int) -> Any:
        b1, b2 = 1 - self.point["one_minus_beta1"], self.point["beta2"]
        b3, d, eta = math.sqrt(b2), self.d, self.rate(t - 1)
        new = {}
        self.r *= b3
        for n, g in grads.items():
            self.m[n] = b1 * self.m[n] + (1 - b1) * d * g
            self.v[n] = b2 * self.v[n] + (1 - b2) * (d * g) ** 2
            self.r += eta * d**2 * float((g * (self.start[n] - theta[n])).sum())
            self.s[n] = b3 * self.s[n] + eta * d**2 * g
            u = self.m[n] / (np.sqrt(self.v[n]) + d * EPSILON)
            new[n] = theta[n] - eta * d * (u + self.point["weight_decay"] * theta[n])
        size = sum(float(np.abs(s).sum()) for s in self.s.values())
        if size:
            self.d = max(d, self.r / size)
        return new
