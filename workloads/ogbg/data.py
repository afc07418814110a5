"""Batches of molecules: packed graphs -> padded parts of constant shape."""

import functools
from typing import Any, NamedTuple

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.ogbg import reader
from algoperf.errors import BadSettings
from algoperf.prepared import PreparedData

from .packing import Plan

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
    data = PreparedData.open(
        request.folder,
        dataset=reader.DATASET,
        format_version=reader.FORMAT_VERSION,
        splits=request.splits,
    )
    return GraphBatches(request, reader.read_split(data, request.split))


def eval_train_graphs(num_train: int, size: int) -> np.ndarray:
    """The training graphs that are evaluated, in a fixed order: int64 [size]."""
    return pipeline.epoch_order(num_train, _EVAL_TRAIN_SEED, 0)[:size]


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
        self._chosen: np.ndarray | None = None
        if request.split == "eval_train":
            size = request.splits.eval_train
            self._chosen = eval_train_graphs(len(molecules), size)
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
        batch = _Assembly(
            self._molecules, graphs, starts - starts[0], self._plan
        ).batch()
        if request.is_training:
            del batch["is_graph"]
        return batch


class _Layout:
    """Where the rows of some graphs go in padded parts that lie one after the other."""

    def __init__(
        self, starts: np.ndarray, lengths: np.ndarray, cuts: np.ndarray, room: int
    ) -> None:
        """starts, lengths: of each graph's rows; cuts: first graph of each part."""
        ends = np.concatenate([[0], np.cumsum(lengths)])
        self.num_rows = np.diff(ends[cuts])  # [parts]
        parts = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
        self.local = ends[:-1] - ends[cuts[parts]]  # [graphs], within the part
        self._is_empty = lengths == 0
        self._places = parts * room + self.local
        self._total = (len(cuts) - 1) * room
        self.rows = self.spread(starts - self._places) + np.arange(self._total)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Each graph's value on all of its rows, and on padding behind it.

        Much faster than `np.repeat`: a running sum of the differences.
        """
        places = self._places
        if self._is_empty.any():
            places, values = places[~self._is_empty], values[~self._is_empty]
        steps = np.zeros(self._total, np.int64)
        if len(places):
            steps[places[0]] = values[0]
            steps[places[1:]] = np.diff(values)
        return np.cumsum(steps, out=steps)


class _Assembly:
    """Puts the graphs of one batch together."""

    def __init__(
        self,
        molecules: reader.Molecules,
        graphs: np.ndarray,
        cuts: np.ndarray,
        plan: Plan,
    ) -> None:
        """graphs: those of all parts; cuts: int [parts + 1], where each part begins."""
        self._molecules = molecules
        self._graphs = graphs
        self._cuts = cuts
        self._budget = plan.budget
        self._parts = len(cuts) - 1
        nodes, edges = molecules.node_offsets, molecules.edge_offsets
        self._num_nodes = nodes[graphs + 1] - nodes[graphs]
        self._num_edges = edges[graphs + 1] - edges[graphs]
        self._nodes = _Layout(nodes[graphs], self._num_nodes, cuts, plan.budget.nodes)
        self._edges = _Layout(edges[graphs], self._num_edges, cuts, plan.budget.edges)

    def batch(self) -> dict[str, Any]:
        """The arrays of `open_batches`, `is_graph` included."""
        edges, senders, receivers = self._edge_arrays()
        rows = self._parts, self._budget.graphs
        inputs = GraphsTuple(
            nodes=self._node_array(),
            edges=edges,
            receivers=receivers,
            senders=senders,
            globals=np.zeros((*rows, reader.NUM_TASKS), np.float32),
            n_node=self._counts(self._num_nodes, self._budget.nodes),
            n_edge=self._counts(self._num_edges, self._budget.edges),
        )
        return {"inputs": inputs, **self._labels()}

    def _node_array(self) -> np.ndarray:
        source = self._molecules.nodes
        # `clip`: rows of padding may lie behind the end. They become zeros below.
        rows = source.take(self._nodes.rows, axis=0, mode="clip")
        nodes = rows.astype(np.float32).reshape(self._parts, -1, reader.NODE_FEATURES)
        for part, num_rows in zip(nodes, self._nodes.num_rows, strict=True):
            part[num_rows:] = 0
        return nodes

    def _edge_arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features, senders and receivers; padding edges join the first padding node."""
        # An edge is read as one 64-bit word, many times faster than field by field.
        words = self._molecules.edges.view(np.uint64)
        found = words.take(self._edges.rows, mode="clip").view(reader.EDGE)
        features = np.empty((len(found), reader.EDGE_FEATURES), np.float32)
        for column in range(reader.EDGE_FEATURES):
            features[:, column] = found["features"][:, column]
        first_nodes = self._edges.spread(self._nodes.local).astype(np.int32)
        ends = []
        for field in ("sender", "receiver"):
            ends.append((found[field] + first_nodes).reshape(self._parts, -1))
        edges = features.reshape(self._parts, -1, reader.EDGE_FEATURES)
        for part, num_rows in enumerate(self._edges.num_rows):
            edges[part, num_rows:] = 0
            for array in ends:
                array[part, num_rows:] = self._nodes.num_rows[part]
        return edges, ends[0], ends[1]

    def _counts(self, of_graphs: np.ndarray, room: int) -> np.ndarray:
        """Sizes of the graphs of each part, int32 [parts, graphs]; they add up to room."""
        counts = np.zeros((self._parts, self._budget.graphs), np.int32)
        for part, (start, stop) in enumerate(
            zip(self._cuts, self._cuts[1:], strict=False)
        ):
            real = of_graphs[start:stop]
            counts[part, : len(real)] = real
            counts[part, len(real)] = room - real.sum()
        return counts

    def _labels(self) -> Arrays:
        """`targets`, `weights` and `is_graph`."""
        # Rows that no graph is written to stay padding.
        rows = self._parts, self._budget.graphs
        found = np.full((*rows, reader.NUM_TASKS), reader.MISSING, np.uint8)
        is_graph = np.zeros(rows, bool)
        labels = self._molecules.labels.take(self._graphs, axis=0)
        for part, (start, stop) in enumerate(
            zip(self._cuts, self._cuts[1:], strict=False)
        ):
            found[part, : stop - start] = labels[start:stop]
            is_graph[part, : stop - start] = True
        flat = found.reshape(-1, reader.NUM_TASKS)
        return {
            "targets": (flat == 1).astype(np.float32),
            "weights": (flat != reader.MISSING).astype(np.float32),
            "is_graph": is_graph.reshape(-1),
        }
