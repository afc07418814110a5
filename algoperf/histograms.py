"""Histograms with equal bins, counted part by part."""

from dataclasses import dataclass
from typing import Any

import numpy as np

_BLOCK = 2**15  # values at a time: temporary arrays stay in the processor's cache
_MOST_BINS_OF_A_BYTE = 256


@dataclass(frozen=True)
class Bins:
    """Equal bins over a range; what lies outside counts in the first or last one."""

    number: int
    low: float
    high: float

    def to_json(self) -> list[float]:
        """Number, low, high: all that is needed besides the counts."""
        return [self.number, self.low, self.high]

    @classmethod
    def from_json(cls, values: Any) -> "Bins":
        """The inverse of `to_json`."""
        number, low, high = values
        return cls(int(number), float(low), float(high))

    @property
    def factor(self) -> float:
        """Bins per unit."""
        return self.number / (self.high - self.low)

    def indices(self, values: np.ndarray) -> np.ndarray:
        """The bin of each value, float32; NaN counts in the first one."""
        places: np.ndarray = np.subtract(values, self.low, dtype=np.float32)
        places *= np.float32(self.factor)
        np.fmax(places, 0, out=places)
        np.minimum(places, np.float32(self.number - 1), out=places)
        return places


# The published ranges.
GRADIENT_1D = Bins(100, -2.0, 2.0)
GRADIENT_2D = Bins(40, -1.0, 1.0)
PARAMETER_2D = Bins(50, -2.0, 2.0)


def count(values: np.ndarray, bins: Bins) -> np.ndarray:
    """Counts of all values in each bin, int64 [bins]."""
    flat = values.reshape(-1)
    counts = np.zeros(bins.number, np.int64)
    for first in range(0, len(flat), _BLOCK):
        indices = bins.indices(flat[first : first + _BLOCK])
        if bins.number > _MOST_BINS_OF_A_BYTE or len(indices) % 2:
            counts += np.bincount(indices.astype(np.int64), minlength=bins.number)
        else:
            counts += _count_bytes(indices.astype(np.uint8))[: bins.number]
    return counts


def _count_bytes(indices: np.ndarray) -> np.ndarray:
    """Counts of bytes, taken two at a time: half as many increments."""
    pairs = np.bincount(indices.view(np.uint16), minlength=2**16)
    square = pairs.reshape(_MOST_BINS_OF_A_BYTE, _MOST_BINS_OF_A_BYTE)
    counts: np.ndarray = square.sum(0) + square.sum(1)
    return counts


def count_pairs(
    gradients: np.ndarray, parameter: np.ndarray, bins: tuple[Bins, Bins]
) -> np.ndarray:
    """Joint counts of gradient elements and parameter values, int64 [bins, bins].

    gradients: [examples, *shape] for a parameter of that shape; bins: of gradients, of
    parameters.
    """
    of_gradient, of_parameter = bins
    number = of_gradient.number * of_parameter.number
    columns = of_parameter.indices(parameter.reshape(-1)).astype(np.int32)
    counts = np.zeros(number, np.int64)
    for row in gradients.reshape(len(gradients), -1):
        for first in range(0, len(columns), _BLOCK):
            part = slice(first, first + _BLOCK)
            indices = of_gradient.indices(row[part]).astype(np.int32)
            indices *= of_parameter.number
            indices += columns[part]
            counts += np.bincount(indices, minlength=number)
    return counts.reshape(of_gradient.number, of_parameter.number)
