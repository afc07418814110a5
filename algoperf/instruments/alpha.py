"""Alpha: where a step ends on a noise-informed parabola along its own direction.

-1 is where the step began, 0 the minimum of the parabola, 1 the same height on the other
side. Two noisy losses and two noisy slopes, one of each at both ends of the step, determine
the parabola by maximum likelihood.
"""

import math
from dataclasses import dataclass

import numpy as np

# Stands for a variance of exactly 0, which would have infinite weight.
_SMALLEST_VARIANCE = 1e-10


@dataclass(frozen=True)
class End:
    """What was observed at one end of a step, along the step's unit direction.

    Variances are those of a single example, not of the mean.
    """

    loss: float
    slope: float
    loss_variance: float
    slope_variance: float

    @classmethod
    def of(cls, losses: np.ndarray, slopes: np.ndarray) -> "End":
        """From the examples' losses and directional derivatives, [batch] each."""
        return cls(
            float(losses.mean()),
            float(slopes.mean()),
            sample_variance(losses),
            sample_variance(slopes),
        )


def sample_variance(values: np.ndarray) -> float:
    """With the divisor B - 1; 0 for a single value."""
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def alpha(length: float, start: End, end: End) -> float | None:
    """Alpha of a step of that length; None where no parabola can be fitted.

    A step of length 0 has alpha -1, and so has a step down a concave or straight slope.
    """
    if length == 0:
        return -1.0
    fitted = _fit(length, start, end)
    if fitted is None:
        return None
    slope, curvature = fitted
    if curvature <= 0:
        return -1.0
    if slope == 0:
        return math.inf  # the step begins at the minimum
    return -2.0 * curvature / slope - 1.0


def _fit(length: float, start: End, end: End) -> tuple[float, float] | None:
    """Slope and curvature of the parabola over the step, scaled to run from 0 to 1."""
    # Rows: both losses, then both slopes, of w0 + w1 x + w2 x^2 at x = 0 and x = 1.
    design = np.array([[1, 0, 0], [1, 1, 1], [0, 1, 0], [0, 1, 2]], np.float64)
    values = np.array(
        [start.loss, end.loss, start.slope * length, end.slope * length], np.float64
    )
    variances = np.array(
        [
            start.loss_variance,
            end.loss_variance,
            start.slope_variance,
            end.slope_variance,
        ],
        np.float64,
    )
    variances[variances == 0] = _SMALLEST_VARIANCE
    deviations = np.sqrt(variances)
    deviations[2:] *= length
    if not (np.isfinite(values).all() and np.isfinite(deviations).all()):
        return None
    weighted = design / deviations[:, None]
    solution, _, rank, _ = np.linalg.lstsq(weighted, values / deviations, rcond=None)
    if rank < 3:
        return None
    return float(solution[1]), float(solution[2])
