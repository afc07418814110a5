"""The eigenvalue of largest magnitude of a symmetric matrix that is known by its products."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from algoperf.probe import Probe, Vector, random_signs

_MOST_PRODUCTS = 30
_RELATIVE, _ABSOLUTE = 1e-4, 1e-8  # of two estimates that count as equal


@dataclass(frozen=True)
class Eigenvalue:
    """An estimate, how many products it took, and whether it had settled by then."""

    value: float
    num_products: int
    has_converged: bool


def largest(
    probe: Probe,
    product: Callable[[Vector], Vector],
    start: Vector,
    seed: int,
    *,
    most_products: int = _MOST_PRODUCTS,
) -> Eigenvalue:
    """By Lanczos' recursion from a random vector in the shape of `start`.

    It may be negative. Three vectors are kept, whatever the number of products.
    """
    count = sum(int(np.prod(array.shape)) for array in start.values())
    current = probe.combine(count**-0.5, random_signs(probe, start, seed), 0.0, start)
    before = probe.combine(0.0, current, 0.0, current)
    diagonal: list[float] = []
    beside: list[float] = []
    estimates: list[float] = []
    while len(diagonal) < min(most_products, count):
        following = product(current)
        if beside:
            following = probe.combine(1.0, following, -beside[-1], before)
        diagonal.append(float(probe.dots(following, current).sum()))
        following = probe.combine(1.0, following, -diagonal[-1], current)
        estimates.append(_extreme(diagonal, beside))
        length = float(probe.dots(following, following).sum()) ** 0.5
        if _has_settled(estimates) or length <= _ABSOLUTE:
            return Eigenvalue(estimates[-1], len(diagonal), True)
        beside.append(length)
        before, current = current, probe.combine(1 / length, following, 0.0, following)
    return Eigenvalue(estimates[-1], len(diagonal), len(diagonal) == count)


def _extreme(diagonal: list[float], beside: list[float]) -> float:
    """The eigenvalue of largest magnitude of the tridiagonal matrix so far."""
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    if not np.isfinite(matrix).all():
        return float("nan")
    values = np.linalg.eigvalsh(matrix)
    return float(values[np.argmax(np.abs(values))])


def _has_settled(estimates: list[float]) -> bool:
    if not np.isfinite(estimates[-1]):
        return True
    if len(estimates) < 3:
        return False
    last, *earlier = estimates[-1], estimates[-2], estimates[-3]
    bound = _ABSOLUTE + _RELATIVE * abs(last)
    return all(abs(last - value) <= bound for value in earlier)
