"""What Prodigy is in every framework."""

import math
from collections.abc import Mapping

from algoperf.reference_algorithms._shared import points

# Ours: of no rate, only the factor 1; the regularisation is the workload's default.
SELF_TUNING: Mapping[str, float] = {
    "learning_rate": 1.0,
    "one_minus_beta1": 0.1,
    "beta2": 0.999,
    "weight_decay": 0.0,
    "warmup_factor": 0.02,
}

INITIAL_DISTANCE = 1e-6  # the first estimate of the distance to a solution


def distance_beta(beta2: float) -> float:
    """Decay of the two sums that the distance is estimated by."""
    return math.sqrt(beta2)


point = points.given_or(SELF_TUNING)
