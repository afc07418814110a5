"""What a pass over single examples in chunks asks for, finds, and adds up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from algoperf import histograms
from algoperf.probe import Sums, Vector, Wanted


class Processes(Protocol):
    """What adding up asks of a probe."""

    def gathered(self, rows: np.ndarray) -> np.ndarray:
        """The rows of all processes."""
        ...

    def added(self, vector: Vector) -> Vector:
        """The sum over all processes."""
        ...

    def combine(self, a: float, x: Vector, b: float, y: Vector) -> Vector:
        """See `algoperf.probe.Probe`."""
        ...

    def to_numpy(self, vector: Vector) -> dict[str, np.ndarray]:
        """See `algoperf.probe.Probe`."""
        ...


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


class Parts:
    """Adds up what the chunks of one pass found."""

    def __init__(self, values: Mapping[str, np.ndarray], wanted: Wanted) -> None:
        self._values, self._wanted = values, wanted
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._total: Vector | None = None
        self._squares: Vector | None = None
        self._counts: np.ndarray | None = None
        self._largest = 0.0
        self._pairs: dict[str, np.ndarray] = {}

    def add(self, probe: Processes, found: Chunk, kept: np.ndarray) -> None:
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
            self._largest = max(self._largest, histograms.largest(rows))
            if bins is not None:
                counts = histograms.count(rows, bins)
                self._counts = counts if self._counts is None else self._counts + counts
            if pair_bins is not None:
                pairs = histograms.count_pairs(rows, self._values[name], pair_bins)
                self._pairs[name] = self._pairs.get(name, 0) + pairs

    def sums(self, probe: Processes) -> tuple[Sums, Vector]:
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
            largest=largest_of_all(probe, self._largest),
            counts=over_processes(probe, self._counts),
            pair_counts={n: over_processes(probe, p) for n, p in self._pairs.items()}
            if self._pairs
            else None,
        )
        return sums, probe.added(self._total)


def _sum(probe: Processes, total: Vector | None, more: Vector) -> Vector:
    return more if total is None else probe.combine(1.0, total, 1.0, more)


def largest_of_all(probe: Processes, number: float) -> float:
    """The largest of all processes."""
    return float(probe.gathered(np.array([number])).max())


def over_processes(probe: Processes, counts: Any) -> Any:
    return None if counts is None else probe.gathered(counts[None]).sum(0)
