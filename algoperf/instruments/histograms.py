"""Bins of the gradient histograms, and how they adapt to what was seen."""

from dataclasses import dataclass, replace
from typing import Any

_SMALLEST_HALF_RANGE = 0.5e-6


@dataclass(frozen=True)
class Bins:
    """Equal bins over a range; what lies outside counts in the first or last one."""

    number: int
    low: float
    high: float

    @property
    def width(self) -> float:
        """Of each bin."""
        return (self.high - self.low) / self.number

    def around_zero(self, largest: float, padding: float = 0.0) -> "Bins":
        """The same number of bins, symmetric about 0, for values up to `largest`."""
        half = (1 + padding) * max(largest, _SMALLEST_HALF_RANGE)
        return replace(self, low=-half, high=half)

    def to_json(self) -> list[float]:
        """Number, low, high: all that is needed besides the counts."""
        return [self.number, self.low, self.high]

    @classmethod
    def from_json(cls, values: Any) -> "Bins":
        """The inverse of `to_json`."""
        number, low, high = values
        return cls(int(number), float(low), float(high))


GRADIENT_1D = Bins(100, -2.0, 2.0)
GRADIENT_2D = Bins(40, -1.0, 1.0)
PARAMETER_2D = Bins(50, -2.0, 2.0)
