"""What the probes of all frameworks share: rows of a batch, and passes in chunks.

A framework's probe derives from `ProbeBase` and says how one chunk is computed.
"""

import abc
import contextlib
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from algoperf.layer_sums import LayerSums, Traced
from algoperf.probe import (
    Objective,
    Point,
    Sample,
    Sums,
    Vector,
    Wanted,
    counted_rows,
    random_signs,
)
from algoperf.probe_chunks import (
    Chunk,
    ChunkRequest,
    Parts,
    Rows,
    largest_of_all,
    over_processes,
)

_CHUNK_BYTES = 2**26  # of the gradients of single examples that exist at the same time
_MOST_COUPLED = 4  # rows at a time, each of which needs the whole batch's activations
_TOLERANCE = 1e-2  # of the check whether single examples make up the batch's gradient
_NUM_COMPARED = 2  # examples of the check whether layers can be computed apart
BY_LAYER, TOGETHER, ONE_BY_ONE = "by layer", "together", "one by one"


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
        self._has_layers: bool | None = None  # None: not yet known
        # Of points that somebody still holds: the sample, and what was traced there.
        self._passes: weakref.WeakKeyDictionary[Point, tuple[Sample, Traced]] = (
            weakref.WeakKeyDictionary()
        )

    @abc.abstractmethod
    def batch_gradient(
        self, point: Point, sample: Sample
    ) -> tuple[np.ndarray, float, Vector]:
        """`summed` of this process's batch, and the mean gradient of all processes."""

    @abc.abstractmethod
    def batch_slopes(
        self, point: Point, sample: Sample, directions: Sequence[Vector]
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """`summed`, its derivatives [rows, directions], and the divisor."""

    def trace(
        self, point: Point, sample: Sample, *, with_gradient: bool
    ) -> Traced | None:
        """One forward and backward pass, layer by layer; None for other models."""
        return None

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same pure function of arrays, compiled where the framework does that."""
        return function

    def precise(self) -> contextlib.AbstractContextManager[Any]:
        """Within, products of matrices are computed in the full precision of float32."""
        return contextlib.nullcontext()

    @abc.abstractmethod
    def dots(self, a: Vector, b: Vector) -> np.ndarray:
        """See `algoperf.probe.Probe`."""

    @abc.abstractmethod
    def combine(self, a: float, x: Vector, b: float, y: Vector) -> Vector:
        """See `algoperf.probe.Probe`."""

    @abc.abstractmethod
    def from_numpy(self, arrays: Mapping[str, np.ndarray]) -> Vector:
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

    def gradient(self, point: Point, sample: Sample) -> tuple[np.ndarray, Vector]:
        """See `algoperf.probe.Probe`."""
        traced = self._by_layer(point, sample, with_gradient=True)
        if traced is None:
            summed, valid, gradient = self.batch_gradient(point, sample)
            return self._losses_of(sample, summed, valid)[1], gradient
        rows, losses = self._losses_of(sample, traced.summed, traced.valid)
        assert traced.gradient is not None
        total = self.combine(1 / rows.num_valid, traced.gradient, 0.0, traced.gradient)
        return losses, self.added(total)

    def slopes(
        self, point: Point, sample: Sample, directions: Sequence[Vector]
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `algoperf.probe.Probe`."""
        traced = self._by_layer(point, sample)
        if traced is not None:
            wanted = Wanted(directions, norms=False)
            sums = self._layer_sums(point, sample, wanted, traced)
            return sums.losses, sums.products
        summed, slopes, valid = self.batch_slopes(point, sample, directions)
        rows, losses = self._losses_of(sample, summed, valid)
        return losses, self.normalised(rows, slopes)

    def individual(self, point: Point, sample: Sample, wanted: Wanted) -> Sums:
        """See `algoperf.probe.Probe`."""
        traced = self._by_layer(point, sample)
        if traced is not None:
            return self._layer_sums(point, sample, wanted, traced)
        summed, valid = self.summed(point, sample)
        rows = self.rows_of(sample, len(summed), valid)
        if "individual" not in self.routes:
            self.routes["individual"] = self._route(point, sample, rows)
        one_by_one = self.routes["individual"] == ONE_BY_ONE
        return self._pass(point, sample, wanted, rows, one_by_one)[0]

    def _losses_of(
        self, sample: Sample, summed: np.ndarray, valid: float
    ) -> tuple[Rows, np.ndarray]:
        rows = self.rows_of(sample, len(summed), valid)
        return rows, self.normalised(rows, summed)

    # The way to single examples, found once

    def _by_layer(
        self, point: Point, sample: Sample, *, with_gradient: bool = False
    ) -> Traced | None:
        """What was traced at the point, once; None where that is not the way."""
        if self._has_layers is None:
            self._has_layers = self._agree(self._finds_layers(point, sample))
        if not self._has_layers:
            return None
        self.routes.update(individual=BY_LAYER, slopes=BY_LAYER)
        kept = self._passes.get(point)
        if kept is not None and kept[0] is sample:
            traced = kept[1]
            if traced.gradient is not None or not with_gradient:
                return traced
        found = self.trace(point, sample, with_gradient=with_gradient)
        assert found is not None, "the same model as before"
        self._passes[point] = (sample, found)
        return found

    def _layer_sums(
        self, point: Point, sample: Sample, wanted: Wanted, traced: Traced
    ) -> Sums:
        rows, losses = self._losses_of(sample, traced.summed, traced.valid)
        weights = np.where(rows.is_counted, rows.factor, 0.0).astype(np.float32)
        with self.precise():
            found = LayerSums(self, traced, wanted, weights, point.values)
        counted = rows.is_counted
        return Sums(
            losses,
            self.gathered(found.squared_norms[counted]),
            self.gathered(found.products[counted]),
            squares=self.added(found.squares) if wanted.squares else None,
            largest=largest_of_all(self, found.largest),
            counts=over_processes(self, found.counts),
            pair_counts={
                name: over_processes(self, pairs)
                for name, pairs in found.pair_counts.items()
            }
            or None,
        )

    def _agree(self, is_true: bool) -> bool:
        """Whether it is true of all processes."""
        return bool(self.gathered(np.array([is_true])).all())

    def _finds_layers(self, point: Point, sample: Sample) -> bool:
        """Whether layers give the gradients of the first examples, taken one by one."""
        summed, valid, gradient = self.batch_gradient(point, sample)
        if self.couples_examples or not self.are_rows(sample, len(summed)):
            return False
        try:
            traced = self.trace(point, sample, with_gradient=True)
        except self.no_derivative:
            return False
        if traced is None or traced.gradient is None:
            return False
        rows = self.rows_of(sample, len(summed), valid)
        weights = np.where(rows.is_counted, rows.factor, 0.0).astype(np.float32)
        first = np.arange(min(_NUM_COMPARED, len(weights)), dtype=np.int32)
        directions = (gradient, random_signs(self, gradient, seed=0))
        request = ChunkRequest(
            first, weights[first], directions, False, False, one_by_one=True
        )
        chunk = self.chunk(point, sample, request)
        with self.precise():
            wanted = Wanted(directions)
            found = LayerSums(self, traced, wanted, weights, point.values)
        # The sum over all examples finds a use of a parameter that no layer has.
        own = self.combine(rows.factor, traced.gradient, 0.0, traced.gradient)
        totals = [self.dots(own, direction).sum() for direction in directions]
        scales = np.sqrt(np.square(found.products).sum(0))
        is_whole = np.abs(found.products.sum(0) - totals) <= _TOLERANCE * scales
        return bool(
            is_whole.all()
            and _is_near(found.squared_norms[first], chunk.squared_norms)
            and _is_near(found.products[first], chunk.products)
        )

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
        parts = Parts(values, wanted)
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


def _is_near(found: Any, expected: Any) -> bool:
    numbers = np.asarray(expected, np.float64)
    scale = np.abs(numbers).max(initial=0.0)
    return np.allclose(found, numbers, rtol=_TOLERANCE, atol=_TOLERANCE * scale)
