"""Float64 numpy transcription of Distributed Shampoo, one tensor at a time."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def merged(shape: tuple[int, ...], largest: int) -> list[int]:
    """Neighbouring axes as one, as long as their product is not above `largest`."""
    if not shape:
        return [1]
    if len(shape) > 1 and shape[0] * shape[1] <= largest:
        return merged((shape[0] * shape[1], *shape[2:]), largest)
    return [shape[0], *(merged(shape[1:], largest) if shape[1:] else [])]


def inverse_root(matrix: np.ndarray, order: int) -> np.ndarray:
    """By eigenvalues, after the ridge."""
    values, vectors = np.linalg.eigh(matrix)
    values = np.maximum(values, 0.0) + 1e-6 * values.max()
    return (vectors * values ** (-1 / order)) @ vectors.T


class Shampoo:
    """The published rule, with its constants or others."""

    def __init__(
        self,
        point: Mapping[str, float],
        rate: Callable[[int], float],
        *,
        beta2: float,
        merged: int = 4096,
        block: int = 1024,
        skipped_above: int = 4096,
        every: int = 20,
        start: int = 101,
    ) -> None:
        self.point, self.rate, self.beta2 = point, rate, beta2
        self.merged, self.block, self.skipped_above = merged, block, skipped_above
        self.every, self.start = every, start
        self.d: Any = 0.0
        self.m_p: Any = 0.0
        self.m_u: Any = 0.0
        self.statistics: dict[Any, np.ndarray] = {}
        self.roots: dict[Any, np.ndarray] = {}

    def precondition(self, g: np.ndarray, t: int) -> np.ndarray:
        """Block by block, axis by axis."""
        g, p = g.copy(), np.zeros_like(g)
        starts = [range(0, size, self.block) for size in g.shape]
        for corner in np.array(np.meshgrid(*starts)).reshape(g.ndim, -1).T:
            where = tuple(slice(c, c + self.block) for c in corner)
            block = direction = g[where]
            for axis in range(g.ndim):
                key = (*corner, axis)
                flat = np.moveaxis(block, axis, 0).reshape(block.shape[axis], -1)
                old = self.statistics.get(key, 1e-6 * np.eye(len(flat)))
                new = self.beta2 * old + (1 - self.beta2) * flat @ flat.T
                self.statistics[key] = new
                if (t - 1) % self.every == 0:
                    self.roots[key] = inverse_root(new, 2 * g.ndim)
                direction = np.moveaxis(
                    np.tensordot(self.roots[key], direction, (1, axis)), 0, axis
                )
            p[where] = direction
        return p

    def update(self, theta: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        """Theta after step t = 1, 2, ..."""
        b1, decay = 1 - self.point["one_minus_beta1"], self.point["weight_decay"]
        unit = g / (np.linalg.norm(g) + 1e-25)
        self.d = self.beta2 * self.d + (1 - self.beta2) * unit**2
        u = p = unit / (np.sqrt(self.d) + 1e-8)
        shape = merged(g.shape, self.merged)
        if max(shape) <= self.skipped_above:
            p = self.precondition(g.reshape(shape), t).reshape(g.shape)
            p = p * np.linalg.norm(u) / np.linalg.norm(p)
        self.m_p = b1 * self.m_p + (1 - b1) * (p + decay * theta)
        self.m_u = b1 * self.m_u + (1 - b1) * (u + decay * theta)
        last, momentum = (p, self.m_p) if t >= self.start else (u, self.m_u)
        result = (1 - b1) * (last + decay * theta) + b1 * momentum
        return theta - self.rate(t - 1) * result
