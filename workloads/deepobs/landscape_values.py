"""The heights of the landscapes, written once against the array API."""

import math
from typing import Any

import numpy as np

from .landscapes import quadratic


def example_values(xp: Any, landscape: str, params: Any, inputs: Any) -> Any:
    """The loss of each example, [batch].

    params: [100] or [2]; inputs: [batch, 100] or [batch, 2], the noise.
    """
    if landscape == "quadratic_deep":
        difference = params - inputs
        hessian = xp.asarray(quadratic().astype(np.float32))
        if hasattr(params, "device"):
            hessian = xp.asarray(hessian, dtype=params.dtype, device=params.device)
        return 0.5 * xp.sum(difference * (difference @ hessian), axis=-1)
    u, v = params[0], params[1]
    height = {"beale": _beale, "branin": _branin, "rosenbrock": _rosenbrock}[landscape]
    return height(xp, u, v) + u * inputs[..., 0] + v * inputs[..., 1]


def _beale(xp: Any, u: Any, v: Any) -> Any:
    terms = ((1.5, 1), (2.25, 2), (2.625, 3))
    return sum((c - u + u * v**power) ** 2 for c, power in terms)


def _branin(xp: Any, u: Any, v: Any) -> Any:
    b, c, t = 5.1 / (4 * math.pi**2), 5 / math.pi, 1 / (8 * math.pi)
    return (v - b * u**2 + c * u - 6) ** 2 + 10 * (1 - t) * xp.cos(u) + 10


def _rosenbrock(xp: Any, u: Any, v: Any) -> Any:
    return (1 - u) ** 2 + 100 * (v - u**2) ** 2
