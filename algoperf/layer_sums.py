"""Sums over the gradients of single examples, layer by layer, after one backward pass.

Where a layer's outputs are inputs @ matrix.T, an example's gradient by the matrix is
slopes.T @ inputs, summed over positions. With one position its norm and its products with
directions need no gradient to be written out; with several, it exists for a chunk of examples.
The same code serves both frameworks: it uses nothing but operators and methods that arrays of
both have.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from algoperf import histograms
from algoperf.probe import Vector, Wanted

_CHUNK_BYTES = 2**23  # of gradients at the same time: they should stay in a cache


@dataclass(frozen=True)
class Layer:
    """One use of a matrix at every position of every row of a batch."""

    weight: str
    slopes: Any  # of each row's summed loss, [rows, positions, outputs]
    inputs: Callable[[int, int], Any]  # of a range of rows, [.., positions, features]
    num_features: int
    to_matrix: Callable[[Any], Any]  # of the weight's shape -> [outputs, features]
    from_matrix: Callable[[Any], Any]
    # The same transposed, for products; whichever the framework stores is a view.
    to_columns: Callable[[Any], Any]


@dataclass(frozen=True)
class Traced:
    """A forward and a backward pass over this process's batch."""

    summed: np.ndarray  # loss of each row, as `Objective.summed`
    valid: float  # what their sum is divided by
    layers: Sequence[Layer]
    others: Mapping[str, Any]  # gradients of biases and scales, [rows, *shape]
    # The gradient of a term of the parameters that rows' losses have, and how many times.
    common: Vector
    shares: np.ndarray  # [rows]
    gradient: Vector | None  # of the sum of all rows


class Arrays(Protocol):
    """What is asked of a framework."""

    def from_numpy(self, arrays: Mapping[str, np.ndarray]) -> Vector:
        """See `algoperf.probe.Probe`."""
        ...

    def to_numpy(self, vector: Vector) -> dict[str, np.ndarray]:
        """See `algoperf.probe.Probe`."""
        ...

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same pure function of arrays, compiled where the framework does that."""
        ...


class LayerSums:
    """Adds up one layer after the other; rows are weighted."""

    def __init__(
        self,
        arrays: Arrays,
        traced: Traced,
        wanted: Wanted,
        weights: np.ndarray,
        parameters: Vector,
    ) -> None:
        """weights: factors of the rows, 0 for those that hold no example, float32 [rows]."""
        self._arrays, self._traced, self._wanted = arrays, traced, wanted
        self._parameters = parameters
        self._kept = weights > 0
        shares = (weights * traced.shares).astype(np.float32)
        placed = arrays.from_numpy({"weights": weights, "shares": shares})
        self._weights, self._shares = placed["weights"], placed["shares"]
        self._has_equal_shares = bool((shares == shares[:1]).all())
        self.squared_norms = np.zeros(len(weights))
        self.products = np.zeros((len(weights), len(wanted.directions)))
        self.squares: dict[str, Any] = {}
        self.largest = 0.0
        self.counts: np.ndarray | None = None
        self.pair_counts: dict[str, np.ndarray] = {}
        self._add_common_products(shares)
        for layer in traced.layers:
            self._add_layer(layer)
        self._add_others()

    def _host(self, array: Any) -> np.ndarray:
        return self._arrays.to_numpy({"": array})[""]

    def _add_common_products(self, shares: np.ndarray) -> None:
        product = self._arrays.compiled(_dot)
        for column, direction in enumerate(self._wanted.directions):
            for name, common in self._traced.common.items():
                found = float(self._host(product(common, direction[name])))
                self.products[:, column] += shares * found

    def _add_layer(self, layer: Layer) -> None:
        wanted = self._wanted
        num_rows, positions, outputs = layer.slopes.shape
        is_outer = positions == 1 and layer.weight not in self._traced.common
        is_outer = is_outer and wanted.pair_bins is None
        has_bins = wanted.bins is not None or wanted.pair_bins is not None
        is_written = not is_outer and (wanted.norms or wanted.squares or has_bins)
        columns = [layer.to_columns(d[layer.weight]) for d in wanted.directions]
        for part in _parts(num_rows, positions * max(layer.num_features, outputs)):
            inputs = layer.inputs(part.start, part.stop)
            slopes = _weighted(layer.slopes, self._weights, part)
            if columns:
                self._add_products(part, inputs, slopes, columns)
            if is_outer:
                self._add_outer(layer, part, inputs[:, 0], slopes[:, 0])
            elif is_written:
                self._add_written(layer, part, inputs, slopes)

    def _add_products(
        self, part: slice, inputs: Any, slopes: Any, columns: list[Any]
    ) -> None:
        found = self._arrays.compiled(_products)(inputs, slopes, columns)
        for column, product in enumerate(found):
            self.products[part, column] += self._host(product)

    def _add_outer(self, layer: Layer, part: slice, inputs: Any, slopes: Any) -> None:
        if self._wanted.norms:
            norms = self._arrays.compiled(_outer_norms)(inputs, slopes)
            self.squared_norms[part] += self._host(norms)
        if self._wanted.squares:
            squares = self._arrays.compiled(_outer_squares)(inputs, slopes)
            self._add_squares(layer.weight, layer.from_matrix(squares))
        if self._wanted.bins is not None:
            kept = self._kept[part]
            left, right = self._host(slopes)[kept], self._host(inputs)[kept]
            both = (np.abs(x).max(1, initial=0.0) for x in (left, right))
            self._note_largest(np.multiply(*both))
            self._add_counts(histograms.count_outer(left, right, self._wanted.bins))

    def _add_written(self, layer: Layer, part: slice, inputs: Any, slopes: Any) -> None:
        """Writes gradients out, for a few rows at a time."""
        outputs = slopes.shape[-1]
        parameter, common = None, self._traced.common.get(layer.weight)
        if common is not None:
            common = layer.to_matrix(common)
        if self._wanted.pair_bins is not None:
            parameter = layer.to_matrix(self._host(self._parameters[layer.weight]))
        gradients = self._arrays.compiled(_gradients)
        for some in _parts(len(slopes), layer.num_features * outputs):
            rows = slice(part.start + some.start, part.start + some.stop)
            grads = gradients(inputs[some], slopes[some])
            grads = self._with_common(grads, common, rows)
            squares = self._add_gradients(layer.weight, rows, grads, parameter)
            if squares is not None:
                self._add_squares(layer.weight, layer.from_matrix(squares))

    def _with_common(self, grads: Any, common: Any, rows: slice) -> Any:
        if common is None:
            return grads
        if self._has_equal_shares:
            grads += common * self._shares[0]  # in place, where arrays can be changed
            return grads
        return self._arrays.compiled(_with_common)(grads, common, self._shares[rows])

    def _add_others(self) -> None:
        everything = slice(0, len(self.squared_norms))
        for name, raw in self._traced.others.items():
            grads = _weighted(raw, self._weights, everything)
            grads = self._with_common(grads, self._traced.common.get(name), everything)
            if self._wanted.directions:
                directions = [d[name] for d in self._wanted.directions]
                found = self._arrays.compiled(_row_products)(raw, directions)
                for column, product in enumerate(found):
                    weights = self._host(self._weights)
                    self.products[:, column] += self._host(product) * weights
            parameter = None
            if self._wanted.pair_bins is not None:
                parameter = self._host(self._parameters[name])
            squares = self._add_gradients(name, everything, grads, parameter)
            if squares is not None:
                self._add_squares(name, squares)

    def _add_gradients(
        self, name: str, part: slice, grads: Any, parameter: np.ndarray | None
    ) -> Any:
        """Takes over written gradients, [part, *shape]; returns the sum of their squares."""
        wanted = self._wanted
        if wanted.norms:
            norms = self._arrays.compiled(_norms)(grads)
            self.squared_norms[part] += self._host(norms)
        if wanted.bins is not None or wanted.pair_bins is not None:
            rows, kept = self._host(grads), self._kept[part]
            rows = rows if kept.all() else rows[kept]
            self._note_largest(rows)
            if wanted.bins is not None:
                self._add_counts(histograms.count(rows, wanted.bins))
            if wanted.pair_bins is not None and parameter is not None:
                pairs = histograms.count_pairs(rows, parameter, wanted.pair_bins)
                self.pair_counts[name] = self.pair_counts.get(name, 0) + pairs
        return self._arrays.compiled(_squares)(grads) if wanted.squares else None

    def _note_largest(self, elements: np.ndarray) -> None:
        self.largest = max(self.largest, histograms.largest(elements))

    def _add_squares(self, name: str, squares: Any) -> None:
        before = self.squares.get(name)
        self.squares[name] = squares if before is None else before + squares

    def _add_counts(self, counts: np.ndarray) -> None:
        self.counts = counts if self.counts is None else self.counts + counts


def _parts(num_rows: int, width: int) -> Iterator[slice]:
    """Rows that fit into a chunk together; width: numbers a row."""
    size = max(1, _CHUNK_BYTES // (4 * width))
    for first in range(0, num_rows, size):
        yield slice(first, min(first + size, num_rows))


# Pure functions of arrays; `.mT` and `@` mean the same in both frameworks


def _weighted(rows: Any, weights: Any, part: slice) -> Any:
    chosen = rows[part]
    return chosen * weights[part].reshape(-1, *(1,) * (chosen.ndim - 1))


def _dot(a: Any, b: Any) -> Any:
    return (a * b).sum()


def _products(inputs: Any, slopes: Any, columns: list[Any]) -> list[Any]:
    return [((inputs @ c) * slopes).sum((1, 2)) for c in columns]


def _row_products(grads: Any, directions: list[Any]) -> list[Any]:
    flat = grads.reshape(grads.shape[0], -1)
    return [flat @ d.reshape(-1) for d in directions]


def _outer_norms(inputs: Any, slopes: Any) -> Any:
    return (inputs * inputs).sum(1) * (slopes * slopes).sum(1)


def _outer_squares(inputs: Any, slopes: Any) -> Any:
    return (slopes * slopes).mT @ (inputs * inputs)


def _gradients(inputs: Any, slopes: Any) -> Any:
    return slopes.mT @ inputs


def _with_common(grads: Any, common: Any, shares: Any) -> Any:
    return grads + common * shares.reshape(-1, *(1,) * (grads.ndim - 1))


def _norms(grads: Any) -> Any:
    # Short products first: float32 loses digits over millions of terms.
    products = grads[..., None, :] @ grads[..., :, None]
    return products.reshape(grads.shape[0], -1).sum(1)


def _squares(grads: Any) -> Any:
    return (grads * grads).sum(0)
