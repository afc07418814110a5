"""What a point may choose of Muon, in every framework."""

import math
from dataclasses import dataclass
from typing import Any

from algoperf.reference_algorithms._shared import matrices


@dataclass(frozen=True)
class MuonSettings:
    """Of the matrices; where a point is silent, one rate and one decay serve all."""

    momentum: float
    weight_decay: float
    rate_factor: float = 1.0  # of the rate of all other parameters
    nesterov: bool = True
    scales_by_fan: bool = False

    @classmethod
    def of(cls, point: Any) -> "MuonSettings":
        """`one_minus_momentum`; `matrix_…`, `nesterov`, `scales_by_fan` may be absent."""
        return cls(
            momentum=1.0 - point.one_minus_momentum,
            weight_decay=getattr(point, "matrix_weight_decay", point.weight_decay),
            rate_factor=getattr(point, "matrix_rate_factor", cls.rate_factor),
            nesterov=bool(getattr(point, "nesterov", cls.nesterov)),
            scales_by_fan=bool(getattr(point, "scales_by_fan", cls.scales_by_fan)),
        )

    def scale(self, shape: matrices.Shape, output_axis: int) -> float:
        """What an orthogonal matrix is multiplied with: for AdamW's size, or by its fan.

        The fan's factor is the root of outputs over inputs, at least 1.
        """
        if not self.scales_by_fan:
            return matrices.update_scale(shape)
        return max(1.0, math.sqrt(shape[output_axis] / shape[1 - output_axis]))
