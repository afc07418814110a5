"""Batches of molecules: packed graphs -> padded parts of constant shape."""

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.ogbg import reader
from algoperf.errors import BadSettings
from algoperf.prepared import PreparedData

from .packing import Budget, Plan

# eval_train is the same training graphs in every run, whatever its seed.
_EVAL_TRAIN_SEED = 0x6F676267


class GraphsTuple(NamedTuple):
    """Graphs, with the fields of jraph's tuple of that name; arrays of any framework.

    The first axis of every array is the part of the batch. Within a part its graphs
    follow each other, the last ones being padding: the first of these owns the padding
    nodes and edges, the others are empty.
    """

    nodes: Any  # float32 [parts, nodes, 9]
    edges: Any  # float32 [parts, edges, 3]
    receivers: Any  # int32 [parts, edges]: a node of the same part
    senders: Any  # int32 [parts, edges]
    globals: Any  # float32 [parts, graphs, 128]: zeros
    n_node: Any  # int32 [parts, graphs]
    n_edge: Any  # int32 [parts, graphs]


def open_batches(request: pipeline.DataRequest) -> "GraphBatches":
    """The batches of one split of the prepared data in `request.folder`.

    Each is `inputs`, a `GraphsTuple`; `targets` float32 [parts * graphs, 128], 0 or 1;
    `weights` float32 of that shape, 1 where a label was measured; and in evaluation
    `is_graph` bool [parts * graphs], False for padding.
    """
    data = PreparedData.requested(request, reader)
    return GraphBatches(request, reader.read_split(data, request.split))


class GraphBatches:
    """Implements `pipeline.Batches`: every graph once an epoch, whatever fits a batch.

    A process reads as many of the parts of each global batch as its share is.
    """

    def __init__(
        self, request: pipeline.DataRequest, molecules: reader.Molecules
    ) -> None:
        self._parts = request.config.parts
        if self._parts % request.num_shards:
            raise BadSettings(
                f"A batch of graphs has {self._parts} equal parts, which cannot be "
                f"shared by {request.num_shards} processes. Use a number that divides "
                f"{self._parts}."
            )
        self._request = request
        self._molecules = molecules
        # Training has the graphs as they are stored; an index would only cost time.
        self._chosen: np.ndarray | None = None
        if request.split == "eval_train":
            self._chosen = pipeline.chosen_examples(
                request, len(molecules), _EVAL_TRAIN_SEED
            )
        picked = slice(None) if self._chosen is None else self._chosen
        order = functools.partial(pipeline.epoch_order, len(molecules), request.seed)
        self._plan = Plan(
            molecules.num_nodes[picked],
            molecules.num_edges[picked],
            batch_size=request.batch_size,
            config=request.config,
            order=functools.lru_cache(4)(order) if request.is_training else None,
        )
        self.num_batches = None if request.is_training else self._plan.num_batches

    def batch(self, index: int) -> dict[str, Any]:
        """See `pipeline.Batches.batch`; the arrays are those of `open_batches`."""
        request = self._request
        share = self._parts // request.num_shards
        first = index * self._parts + request.shard * share
        starts = self._plan.starts(first, first + share)
        graphs = self._plan.graphs(starts[0], starts[-1])
        if self._chosen is not None:
            graphs = self._chosen[graphs]
        cuts = starts - starts[0]
        batch = _Assembly(self._molecules, graphs, cuts, self._plan.budget).batch()
        if request.is_training:
            del batch["is_graph"]
        return batch


class _Places:
    """Which run of a batch is which: each part has one of each of its graphs, then one
    of padding.
    """

    def __init__(self, cuts: np.ndarray, room: int) -> None:
        """cuts: int [parts + 1], each part's first graph; room: graph slots of a part."""
        parts, sizes = np.arange(len(cuts) - 1), np.diff(cuts)
        self.cuts = cuts
        self.parts = np.repeat(parts, sizes + 1)  # [runs]
        self.shape = len(parts), room
        self.padding = cuts[1:] + parts  # [parts]: which runs are padding …
        self.graphs = np.arange(cuts[-1]) + np.repeat(parts, sizes)  # … and graphs
        # The slot of each run among those of all parts.
        self.slots = np.arange(len(self.parts))
        self.slots += (parts * (room - 1) - cuts[:-1])[self.parts]


class _Runs:
    """The nodes, or the edges, of a batch: runs of rows, one after the other."""

    def __init__(
        self, offsets: np.ndarray, graphs: np.ndarray, places: _Places, room: int
    ) -> None:
        """offsets: of the packed graphs; room: rows of a part, padding included."""
        self._starts, self._stops = offsets[graphs], offsets[graphs + 1]
        self._places = places
        lengths = self._stops - self._starts
        ends = np.concatenate([[0], np.cumsum(lengths)])[places.cuts]
        self._paddings = room - (ends[1:] - ends[:-1])  # [parts]
        self.lengths = np.empty(len(places.parts), np.int64)  # [runs]
        self.lengths[places.graphs] = lengths
        self.lengths[places.padding] = self._paddings
        # Where each run begins within its part: [runs]
        self.local = np.cumsum(self.lengths) - self.lengths - places.parts * room

    def gathered(self, rows: np.ndarray) -> np.ndarray:
        """The batch's rows, zeros where padding is: [parts * room, …], read-only.

        Joining slices is several times faster than `take`, which wants every row's
        index.
        """
        view = memoryview(rows)  # type: ignore[arg-type]  # numpy's types before 3.12
        limits = zip(self._starts.tolist(), self._stops.tolist(), strict=True)
        pieces = [view[start:stop] for start, stop in limits]
        row_bytes = math.prod(rows.shape[1:]) * rows.itemsize
        paddings = zip(self._places.padding, self._paddings.tolist(), strict=True)
        for place, length in paddings:
            pieces.insert(place, memoryview(bytes(length * row_bytes)))
        joined = np.frombuffer(b"".join(pieces), rows.dtype)
        return joined.reshape(-1, *rows.shape[1:])


class _Assembly:
    """Puts the graphs of one batch together."""

    def __init__(
        self,
        molecules: reader.Molecules,
        graphs: np.ndarray,
        cuts: np.ndarray,
        budget: Budget,
    ) -> None:
        """graphs: those of all parts; cuts: int [parts + 1], where each part begins."""
        self._molecules = molecules
        self._graphs = graphs
        self._places = places = _Places(cuts, budget.graphs)
        self._nodes = _Runs(molecules.node_offsets, graphs, places, budget.nodes)
        self._edges = _Runs(molecules.edge_offsets, graphs, places, budget.edges)

    def batch(self) -> dict[str, Any]:
        """The arrays of `open_batches`, `is_graph` included."""
        edges, senders, receivers = self._edge_arrays()
        inputs = GraphsTuple(
            nodes=self._node_array(),
            edges=edges,
            receivers=receivers,
            senders=senders,
            globals=np.zeros((*self._places.shape, reader.NUM_TASKS), np.float32),
            n_node=self._counts(self._nodes),
            n_edge=self._counts(self._edges),
        )
        return {"inputs": inputs, **self._labels()}

    def _node_array(self) -> np.ndarray:
        nodes = self._nodes.gathered(self._molecules.nodes).astype(np.float32)
        return nodes.reshape(self._places.shape[0], -1, reader.NODE_FEATURES)

    def _edge_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, senders and receivers; padding edges join the first padding node."""
        found = self._edges.gathered(self._molecules.edges)
        parts = self._places.shape[0]
        edges = np.empty((len(found), reader.EDGE_FEATURES), np.float32)
        for column in range(reader.EDGE_FEATURES):
            edges[:, column] = found["features"][:, column]
        first_nodes = self._nodes.local.astype(np.int32)
        first_nodes = np.repeat(first_nodes, self._edges.lengths)
        senders = (found["sender"] + first_nodes).reshape(parts, -1)
        receivers = (found["receiver"] + first_nodes).reshape(parts, -1)
        return edges.reshape(parts, -1, reader.EDGE_FEATURES), senders, receivers

    def _counts(self, runs: _Runs) -> np.ndarray:
        """Lengths of the runs of each part, int32 [parts, graphs]; 0 behind them."""
        counts = np.zeros(self._places.shape, np.int32)
        counts.reshape(-1)[self._places.slots] = runs.lengths
        return counts

    def _labels(self) -> Arrays:
        """`targets`, `weights` and `is_graph`."""
        # Rows that no graph is written to stay padding.
        padded = np.full((*self._places.shape, reader.NUM_TASKS), reader.MISSING, "u1")
        is_graph = np.zeros(self._places.shape, bool)
        found = self._molecules.labels.take(self._graphs, axis=0)
        for part, (start, stop) in enumerate(itertools.pairwise(self._places.cuts)):
            padded[part, : stop - start] = found[start:stop]
            is_graph[part, : stop - start] = True
        labels = padded.reshape(-1, reader.NUM_TASKS)
        return {
            "targets": (labels == 1).astype(np.float32),
            "weights": (labels != reader.MISSING).astype(np.float32),
            "is_graph": is_graph.reshape(-1),
        }
