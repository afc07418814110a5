"""The formulas of all quantities that gradients and curvature of a mini-batch determine.

Notation: B examples with losses l_i and gradients g_i (not divided by B), their mean g, and
the curvature's diagonal h. Vectors over parameters are given tensor by tensor, as a mapping
from names to arrays. A quantity that a zero gradient leaves undefined is NaN or infinite.
"""

import math
from collections.abc import Mapping

import numpy as np

Vector = Mapping[str, np.ndarray]

_GSNR_EPSILON = 1e-5
_STOPPING_EPSILON = 1e-5
_TIC_EPSILON = 1e-7


def norm_test(squared_norms: np.ndarray, mean_squared_norm: float) -> float:
    """The total spread of individual gradients, relative to the mean gradient.

    Like the two other tests, the tolerance at which a published test of the batch size
    would just pass: smaller means less noise. Its square is the sum of theirs.
    squared_norms: |g_i|^2, [batch]; mean_squared_norm: |g|^2.
    """
    num, square = len(squared_norms), np.float64(mean_squared_norm)
    total = float(np.sum(squared_norms, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return _root((total - num * square) / (num - 1) / (num * square))


def inner_test(products: np.ndarray, mean_squared_norm: float) -> float:
    """The spread of individual gradients along the mean gradient.

    products: g_i . g, [batch].
    """
    num, square = len(products), np.float64(mean_squared_norm)
    along = float(np.sum(np.square(products, dtype=np.float64)))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (along - num * square**2) / (num - 1)
        return _root(variance / (num * square**2))


def ortho_test(
    squared_norms: np.ndarray, products: np.ndarray, mean_squared_norm: float
) -> float:
    """The spread of individual gradients across the mean gradient; see the others."""
    num, square = len(squared_norms), np.float64(mean_squared_norm)
    total = float(np.sum(squared_norms, dtype=np.float64))
    along = float(np.sum(np.square(products, dtype=np.float64)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return _root((total - along / square) / (num - 1) / (num * square))


def _root(value: float) -> float:
    """The root; rounding may have made a variance of zero slightly negative."""
    if math.isnan(value):
        return math.nan
    return math.sqrt(max(float(value), 0.0))


def cabs(
    squared_norms: np.ndarray,
    mean_squared_norm: float,
    loss: float,
    learning_rate: float,
) -> float:
    """The batch size that CABS suggests for plain SGD: rate * tr(covariance) / loss."""
    num = len(squared_norms)
    total = float(np.sum(squared_norms, dtype=np.float64))
    trace = (total - num * mean_squared_norm) / num
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(learning_rate * trace) / loss)


def early_stopping(squares: Vector, gradient: Vector, batch_size: int) -> float:
    """The evidence criterion for plain SGD; above 0 it tells to stop.

    squares: the sum over examples of g_ij^2.
    """
    total, count = 0.0, 0
    for name, g in _wide(gradient):
        variance = (_wide_of(squares, name) - batch_size * g**2) / (batch_size - 1)
        total += float(np.sum(g**2 / (variance + _STOPPING_EPSILON)))
        count += g.size
    return 1.0 - batch_size * total / count


def mean_gsnr(squares: Vector, gradient: Vector, batch_size: int) -> float:
    """The mean over parameters of the gradient's signal-to-noise ratio."""
    total, count = 0.0, 0
    for name, g in _wide(gradient):
        variance = _wide_of(squares, name) / batch_size - g**2
        total += float(np.sum(g**2 / (variance + _GSNR_EPSILON)))
        count += g.size
    return total / count


def tic_diagonal(squares: Vector, diagonal: Vector, batch_size: int) -> float:
    """Takeuchi's criterion with both matrices replaced by their diagonals."""
    return sum(
        float(np.sum(_wide_of(squares, name) / batch_size / (h + _TIC_EPSILON)))
        for name, h in _wide(diagonal)
    )


def tic_trace(squared_norms: np.ndarray, trace: float) -> float:
    """Takeuchi's criterion with both matrices replaced by their traces."""
    return float(np.mean(squared_norms, dtype=np.float64)) / (trace + _TIC_EPSILON)


def _wide(vector: Vector) -> list[tuple[str, np.ndarray]]:
    return [(name, np.asarray(array, np.float64)) for name, array in vector.items()]


def _wide_of(vector: Vector, name: str) -> np.ndarray:
    return np.asarray(vector[name], np.float64)
