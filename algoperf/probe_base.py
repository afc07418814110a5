"""What the probes of all frameworks share: rows of a batch, and passes in chunks.

A framework's probe derives from `ProbeBase` and says how one chunk is computed.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from algoperf import histograms
from algoperf.probe import (
    Objective,
    Point,
    Sample,
    Sums,
    Vector,
    Wanted,
    counted_rows,
)

_CHUNK_BYTES = 2**26  # of the gradients of single examples that exist at the same time
_MOST_COUPLED = 4  # rows at a time, each of which needs the whole batch's activations
_TOLERANCE = 1e-2  # of the check whether single examples make up the batch's gradient
TOGETHER, ONE_BY_ONE = "together", "one by one"


@dataclass(frozen=True)
class Rows:
    """Which rows of this process's batch are examples."""

    is_counted: np.ndarray  # bool [rows]
    num_examples: int  # of the global batch
    num_valid: float  # what the global sum of losses is divided by

    @property
    def factor(self) -> float:
        """From a row's summed loss to that of an example."""
        return self.num_examples / self.num_valid


@dataclass(frozen=True)
class ChunkRequest:
    """Which rows to compute, and what of their gradients."""

    indices: np.ndarray  # int32 [chunk], of rows
    weights: np.ndarray  # float32 [chunk]: the factor of each row, 0 for padding
    directions: Sequence[Vector]
    squares: bool
    keep_gradients: bool
    one_by_one: bool


@dataclass(frozen=True)
class Chunk:
    """What one chunk adds; gradients are those of the weighted rows."""

    losses: Any  # [chunk]
    squared_norms: Any  # [chunk]
    products: Any  # [chunk, directions]
    total: Vector  # sum of the gradients
    squares: Vector | None = None
    gradients: Vector | None = None  # [chunk, *shape] each


class ProbeBase(abc.ABC):
    """Passes over single examples, given how a chunk of them is computed."""

    names: Sequence[str]
    num_parameters: int
    couples_examples = False
    # What differentiating raises where a function has no derivative of that kind.
    no_derivative: tuple[type[Exception], ...] = (NotImplementedError,)
    chunk_multiple = 1  # of rows

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.routes: dict[str, str] = {}

    @abc.abstractmethod
    def gradient(self, point: Point, sample: Sample) -> tuple[np.ndarray, Vector]:
        """See `algoperf.probe.Probe`."""

    @abc.abstractmethod
    def dots(self, a: Vector, b: Vector) -> np.ndarray:
        """See `algoperf.probe.Probe`."""

    @abc.abstractmethod
    def combine(self, a: float, x: Vector, b: float, y: Vector) -> Vector:
        """See `algoperf.probe.Probe`."""

    @abc.abstractmethod
    def to_numpy(self, vector: Vector) -> dict[str, np.ndarray]:
        """See `algoperf.probe.Probe`."""

    @abc.abstractmethod
    def summed(self, point: Point, sample: Sample) -> tuple[np.ndarray, float]:
        """`Objective.summed` of this process's batch."""

    @abc.abstractmethod
    def chunk(self, point: Point, sample: Sample, request: ChunkRequest) -> Chunk:
        """Losses and gradients of some rows."""

    @abc.abstractmethod
    def are_rows(self, sample: Sample, num_rows: int) -> bool:
        """Whether every array of the batch has the rows of the loss."""

    def gathered(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all processes; alone, these."""
        return rows

    def added(self, vector: Vector) -> Vector:
        """The sum over all processes; alone, the vector."""
        return vector

    def rows_of(self, sample: Sample, num_rows: int, num_valid: float) -> Rows:
        """Which rows are examples, of how many in all processes."""
        is_counted = counted_rows(self.weights_of(sample), num_rows)
        totals = self.gathered(np.array([[is_counted.sum(), num_valid]], np.float64))
        num_examples, valid = totals.sum(0)
        return Rows(is_counted, int(num_examples), float(valid))

    def weights_of(self, sample: Sample) -> Any:
        """The batch's weights on the host; None where it has none."""
        return sample.batch.get("weights")

    def normalised(self, rows: Rows, summed: np.ndarray) -> np.ndarray:
        """Losses or slopes of the examples of all processes; see `algoperf.probe`."""
        own = np.asarray(summed, np.float64)[rows.is_counted]
        return self.gathered(own) * rows.factor

    def losses(self, point: Point, sample: Sample) -> np.ndarray:
        """See `algoperf.probe.Probe`."""
        summed, valid = self.summed(point, sample)
        return self.normalised(self.rows_of(sample, len(summed), valid), summed)

    def individual(self, point: Point, sample: Sample, wanted: Wanted) -> Sums:
        """See `algoperf.probe.Probe`."""
        summed, valid = self.summed(point, sample)
        rows = self.rows_of(sample, len(summed), valid)
        if "individual" not in self.routes:
            self.routes["individual"] = self._route(point, sample, rows)
        one_by_one = self.routes["individual"] == ONE_BY_ONE
        return self._pass(point, sample, wanted, rows, one_by_one)[0]

    def _route(self, point: Point, sample: Sample, rows: Rows) -> str:
        """Whether examples can be computed apart, found by comparing with the batch."""
        if self.couples_examples or not self.are_rows(sample, len(rows.is_counted)):
            return ONE_BY_ONE
        losses, gradient = self.gradient(point, sample)
        try:
            sums, total = self._pass(point, sample, Wanted(), rows, one_by_one=False)
        except self.no_derivative:
            return ONE_BY_ONE
        mean = self.combine(1 / rows.num_examples, total, 0.0, total)
        difference = self.combine(1.0, mean, -1.0, gradient)
        error = self.dots(difference, difference).sum() ** 0.5
        size = self.dots(gradient, gradient).sum() ** 0.5
        is_same = error <= _TOLERANCE * size + 1e-12 and np.allclose(
            sums.losses, losses, rtol=_TOLERANCE, atol=1e-6
        )
        return TOGETHER if is_same else ONE_BY_ONE

    def _pass(
        self,
        point: Point,
        sample: Sample,
        wanted: Wanted,
        rows: Rows,
        one_by_one: bool,
    ) -> tuple[Sums, Vector]:
        """The sums over all examples, and the sum of their gradients."""
        num_rows = len(rows.is_counted)
        size = self._chunk_size(num_rows, one_by_one)
        values = {} if wanted.pair_bins is None else self.to_numpy(point.values)
        parts = _Parts(values, wanted)
        for first in range(0, num_rows, size):
            indices = np.arange(first, first + size)
            is_real = indices < num_rows
            indices = np.minimum(indices, num_rows - 1).astype(np.int32)
            kept = is_real & rows.is_counted[indices]
            request = ChunkRequest(
                indices,
                np.where(kept, rows.factor, 0.0).astype(np.float32),
                wanted.directions,
                wanted.squares,
                wanted.bins is not None or wanted.pair_bins is not None,
                one_by_one,
            )
            parts.add(self, self.chunk(point, sample, request), kept)
        return parts.sums(self)

    def _chunk_size(self, num_rows: int, one_by_one: bool) -> int:
        size = max(1, min(num_rows, _CHUNK_BYTES // (4 * self.num_parameters)))
        if one_by_one:
            return min(size, _MOST_COUPLED)
        multiple = self.chunk_multiple
        return max(multiple, size // multiple * multiple)


class _Parts:
    """Adds up what the chunks of one pass found."""

    def __init__(self, values: Mapping[str, np.ndarray], wanted: Wanted) -> None:
        self._values, self._wanted = values, wanted
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._total: Vector | None = None
        self._squares: Vector | None = None
        self._counts: np.ndarray | None = None
        self._pairs: dict[str, np.ndarray] = {}

    def add(self, probe: ProbeBase, found: Chunk, kept: np.ndarray) -> None:
        """Takes over one chunk; kept: which of its rows are examples."""
        rows = (found.losses, found.squared_norms, found.products)
        self._rows.append(tuple(np.asarray(r, np.float64)[kept] for r in rows))
        self._total = _sum(probe, self._total, found.total)
        if found.squares is not None:
            self._squares = _sum(probe, self._squares, found.squares)
        if found.gradients is not None:
            self._count(probe.to_numpy(found.gradients), kept)

    def _count(self, gradients: Mapping[str, np.ndarray], kept: np.ndarray) -> None:
        bins, pair_bins = self._wanted.bins, self._wanted.pair_bins
        for name, array in gradients.items():
            rows = array if kept.all() else array[kept]
            if bins is not None:
                counts = histograms.count(rows, bins)
                self._counts = counts if self._counts is None else self._counts + counts
            if pair_bins is not None:
                pairs = histograms.count_pairs(rows, self._values[name], pair_bins)
                self._pairs[name] = self._pairs.get(name, 0) + pairs

    def sums(self, probe: ProbeBase) -> tuple[Sums, Vector]:
        """All chunks of all processes together, and the sum of the gradients."""
        assert self._total is not None
        columns = [
            probe.gathered(np.concatenate(parts))
            for parts in zip(*self._rows, strict=True)
        ]
        squares = self._squares and probe.added(self._squares)
        sums = Sums(
            columns[0],
            columns[1],
            columns[2],
            squares=squares,
            counts=_over_processes(probe, self._counts),
            pair_counts={n: _over_processes(probe, p) for n, p in self._pairs.items()}
            if self._pairs
            else None,
        )
        return sums, probe.added(self._total)


def _sum(probe: ProbeBase, total: Vector | None, more: Vector) -> Vector:
    return more if total is None else probe.combine(1.0, total, 1.0, more)


def _over_processes(probe: ProbeBase, counts: Any) -> Any:
    return None if counts is None else probe.gathered(counts[None]).sum(0)
