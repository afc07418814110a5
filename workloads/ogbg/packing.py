"""Which graphs of a stream go into which part of which batch: dynamic batching.

Parts are filled one after the other, in the order of the stream, as long as the next
graph fits into the budget. The plan needs the graphs' sizes only; it is made for an
epoch at a time, in numpy, and remembered.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from algoperf.errors import BadSettings

from .definition import DataConfig


@dataclass(frozen=True)
class Budget:
    """Sizes of one part, padding included: there is room for one padding graph."""

    nodes: int
    edges: int
    graphs: int

    @classmethod
    def of(cls, batch_size: int, config: DataConfig) -> "Budget":
        """The published budgets of a part of a global batch."""
        graphs = -(-batch_size // config.parts)
        return cls(
            nodes=config.nodes_per_graph * graphs + 1,
            edges=config.edges_per_graph * graphs,
            graphs=graphs + 1,
        )


class Plan:
    """The parts that a stream of graphs is cut into.

    sizes: of each graph (nodes, edges), int64 [graphs] each. `order(epoch)` is the
    epoch's permutation of the graphs; None for one pass in the given order. Safe to use
    from several threads.
    """

    def __init__(
        self,
        num_nodes: np.ndarray,
        num_edges: np.ndarray,
        *,
        batch_size: int,
        config: DataConfig,
        order: Callable[[int], np.ndarray] | None,
    ) -> None:
        self.budget = Budget.of(batch_size, config)
        self._sizes = num_nodes, num_edges
        self._order = order
        self._num_graphs = len(num_nodes)
        # At most `batch_size` graphs in all parts, also where they do not divide it.
        self._limits = np.diff(np.arange(config.parts + 1) * batch_size // config.parts)
        self._lock = threading.Lock()
        self._starts = [0]  # where in the stream each part begins
        self._check_largest(batch_size, config)
        if order is None:
            self._extend(stop=self._num_graphs)
            self._starts += [self._num_graphs] * (
                -(len(self._starts) - 1) % config.parts
            )
            self.num_batches = (len(self._starts) - 1) // config.parts

    def _check_largest(self, batch_size: int, config: DataConfig) -> None:
        for kind, sizes, room, each in (
            ("nodes", self._sizes[0], self.budget.nodes - 1, config.nodes_per_graph),
            ("edges", self._sizes[1], self.budget.edges, config.edges_per_graph),
        ):
            largest = int(np.argmax(sizes))
            if sizes[largest] > room:
                needed = config.parts * -(-int(sizes[largest]) // each)
                raise BadSettings(
                    f"Graph {largest:,} has {sizes[largest]:,} {kind}, but each of the "
                    f"{config.parts} parts of a batch of {batch_size} has room for "
                    f"{room:,}. Choose a batch size of at least {needed}."
                )

    def starts(self, first: int, last: int) -> np.ndarray:
        """Where parts `first` to `last` begin in the stream: int64, `last` included."""
        with self._lock:
            while len(self._starts) <= last:
                self._extend(stop=self._starts[-1] + self._num_graphs)
            return np.array(self._starts[first : last + 1])

    def graphs(self, start: int, stop: int) -> np.ndarray:
        """The graphs at positions `start` to `stop` of the stream: int64."""
        if self._order is None:
            return np.arange(start, stop)
        epochs = range(start // self._num_graphs, -(-stop // self._num_graphs))
        parts = []
        for epoch in epochs:
            begin = epoch * self._num_graphs
            parts.append(self._order(epoch)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _extend(self, stop: int) -> None:
        """Plans the parts that begin before `stop`."""
        base = self._starts[-1]
        room = self.budget
        end = stop if self._order is None else stop + room.graphs
        graphs = self.graphs(base, end)
        # For each graph: the first one behind it that would not fit with it.
        fits = np.minimum(
            _reach(self._sizes[0][graphs], room.nodes - 1),
            _reach(self._sizes[1][graphs], room.edges),
        ).tolist()
        limits, position = self._limits.tolist(), base
        while position < stop:
            limit = limits[(len(self._starts) - 1) % len(limits)]
            position = min(base + fits[position - base], position + limit)
            self._starts.append(position)


def _reach(sizes: np.ndarray, room: int) -> np.ndarray:
    """For each start: the end of the longest run whose sum is at most `room`."""
    ends = np.concatenate([[0], np.cumsum(sizes)])
    return np.searchsorted(ends, ends[:-1] + room, side="right") - 1
