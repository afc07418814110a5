"""Histograms with equal bins, counted part by part."""

from dataclasses import dataclass
from typing import Any

import numpy as np

_BLOCK = 2**15  # values at a time: temporary arrays stay in the processor's cache
_MOST_BINS_OF_A_BYTE = 256
_SMALLEST_REACH = 0.5e-6  # of a range that is adapted to its numbers
_EDGE = 1e-6  # of a bin's width: what rounding may move an edge by


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

    def adapted(self, magnitude: float) -> "Bins":
        """As many bins over a range about 0 that just holds numbers of that magnitude."""
        reach = max(magnitude, _SMALLEST_REACH)
        return Bins(self.number, -reach, reach) if np.isfinite(reach) else self

    @property
    def factor(self) -> float:
        """Bins per unit."""
        return self.number / (self.high - self.low)

    @property
    def around_zero(self) -> tuple[int, int, float]:
        """The bins just below and at 0 (one bin twice, unless 0 is an edge), and a radius.

        Numbers of a magnitude below the radius are in these bins. It is 0 where there is no
        such neighbourhood.
        """
        place = -self.low * self.factor
        edge = round(place)
        is_edge = abs(place - edge) < _EDGE
        above = edge if is_edge else int(np.floor(place))
        below = above - 1 if is_edge else above
        if below < 0 or above >= self.number:
            return 0, 0, 0.0
        reach = min(place - below, above + 1 - place)
        return below, above, reach / self.factor * (1 - _EDGE)

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


def largest(values: np.ndarray) -> float:
    """The largest magnitude; 0 without values, and NaN is passed over."""
    if not values.size:
        return 0.0
    high, low = values.max(), values.min()
    if np.isnan(high) or np.isnan(low):  # ten times slower
        high, low = np.fmax.reduce(values, None), np.fmin.reduce(values, None)
    return float(np.nan_to_num(max(high, -low, 0.0), nan=0.0, posinf=np.inf))


def count(values: np.ndarray, bins: Bins) -> np.ndarray:
    """Counts of all values in each bin, int64 [bins].

    Fast where most values are near 0, as gradients are: these are counted by their sign.
    """
    flat = values.reshape(-1)
    counts = np.zeros(bins.number, np.int64)
    below, above, radius = bins.around_zero
    # Numbers of the same type compare ten times as fast.
    zero, bound = flat.dtype.type(0), flat.dtype.type(radius)
    for first in range(0, len(flat), _BLOCK):
        block = flat[first : first + _BLOCK]
        is_small = np.abs(block) < bound
        num_small = np.count_nonzero(is_small)
        is_below = block < zero
        if num_small < len(block):
            counts += _count_all(block[~is_small], bins)
            is_below &= is_small
        num_below = np.count_nonzero(is_below)
        counts[below] += num_below
        counts[above] += num_small - num_below
    return counts


def _count_all(values: np.ndarray, bins: Bins) -> np.ndarray:
    indices = bins.indices(values)
    if bins.number > _MOST_BINS_OF_A_BYTE or len(indices) % 2:
        return np.bincount(indices.astype(np.int64), minlength=bins.number)
    return _count_bytes(indices.astype(np.uint8))[: bins.number]


def count_outer(left: np.ndarray, right: np.ndarray, bins: Bins) -> np.ndarray:
    """Counts of all products left[i, j] * right[i, k], int64 [bins].

    left: [rows, m], right: [rows, n]. Products are only computed where some may lie outside
    the bins around 0.
    """
    below, above, radius = bins.around_zero
    counts = np.zeros(bins.number, np.int64)
    largest = np.abs(right).max(1, initial=0.0, keepdims=True)
    is_small = np.abs(left) * largest < radius
    num_negative = np.count_nonzero(right < 0, axis=1)[:, None]
    num_positive = np.count_nonzero(right > 0, axis=1)[:, None]
    num_below = int((num_negative * (is_small & (left > 0))).sum())
    num_below += int((num_positive * (is_small & (left < 0))).sum())
    counts[below] += num_below
    counts[above] += np.count_nonzero(is_small) * right.shape[1] - num_below
    for row in np.flatnonzero(~is_small.all(1)):
        counts += count(np.multiply.outer(left[row][~is_small[row]], right[row]), bins)
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
