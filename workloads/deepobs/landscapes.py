"""The noisy quadratic and the two-dimensional problems, without a framework (sheet, §2.1, §2.2)."""

import functools
import math

import numpy as np

QUADRATIC_DIM = 100
_QUADRATIC_SEED = 42
START = {"beale": (-4.5, 4.5), "branin": (2.5, 12.5), "rosenbrock": (-0.5, 1.5)}


def start(landscape: str) -> np.ndarray:
    """Where the parameters begin: float32 [100] or [2]."""
    values = START.get(landscape, (1.0,) * QUADRATIC_DIM)
    return np.array(values, np.float32)


@functools.cache
def quadratic() -> np.ndarray:
    """The Hessian of `quadratic_deep`: float64 [100, 100], from a generator of its own.

    Ninety eigenvalues in (0, 1), ten in (30, 60), and a random rotation.
    """
    random = np.random.RandomState(_QUADRATIC_SEED)
    eigenvalues = np.concatenate(
        [random.uniform(0.0, 1.0, 90), random.uniform(30.0, 60.0, 10)]
    )
    rotation = _random_rotation(QUADRATIC_DIM, random)
    hessian: np.ndarray = rotation.T @ np.diag(eigenvalues) @ rotation
    return hessian


def _random_rotation(size: int, random: np.random.RandomState) -> np.ndarray:
    """A rotation drawn evenly, by the subgroup algorithm of Diaconis and Shahshahani."""
    angle = 2.0 * math.pi * random.uniform(0.0, 1.0)
    cosine, sine = math.cos(angle), math.sin(angle)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    for k in range(2, size):
        direction = random.normal(size=k + 1)
        direction /= np.linalg.norm(direction)
        first = np.zeros(k + 1)
        first[0] = 1.0
        mirror = (first - direction) / np.linalg.norm(first - direction)
        bordered = np.zeros((k + 1, k + 1))
        bordered[0, 0] = 1.0
        bordered[1:, 1:] = rotation
        rotation = bordered - 2.0 * np.outer(mirror, mirror @ bordered)
    return -rotation
