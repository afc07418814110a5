"""As which matrices SOAP takes parameters, and its constants: for every framework."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, int]  # rows, columns


@dataclass(frozen=True)
class Settings:
    """The rule's numbers."""

    b1: float
    b2: float
    statistics_beta: float
    eps: float
    weight_decay: float
    refresh_every: int = 10  # updates between new bases
    largest_side: int = 10_000  # along longer ones nothing is rotated
    sorts: bool = True  # whether a refresh orders a basis by its Rayleigh quotients

    @classmethod
    def of(cls, adam: dict[str, Any], point: Any) -> "Settings":
        """adam: `b1`, `b2`, `eps`, `weight_decay`; the rest are keys of the point."""
        return cls(
            **adam,
            statistics_beta=getattr(point, "statistics_beta", adam["b2"]),
            refresh_every=int(getattr(point, "refresh_every", cls.refresh_every)),
            largest_side=int(getattr(point, "largest_side", cls.largest_side)),
        )


def matrix_shape(shape: Sequence[int]) -> Shape | None:
    """A tensor's axes merged, in order, to the matrix that is nearest to a square.

    None for vectors and what is one but for axes of length 1: those follow Adam.
    """
    cuts = [
        (math.prod(shape[:axis]), math.prod(shape[axis:]))
        for axis in range(1, len(shape))
    ]
    cuts = [cut for cut in cuts if min(cut) > 1]
    return min(cuts, key=max, default=None)
