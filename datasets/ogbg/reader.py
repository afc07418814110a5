"""The prepared ogbg-molpcba: memory-mapped packed graphs of each split."""

from dataclasses import dataclass, fields

import numpy as np

from algoperf.definition import Split, materialised
from algoperf.prepared import PreparedData

from .tables import MISSING

__all__ = [
    "DATASET",
    "EDGE",
    "EDGE_FEATURES",
    "FORMAT_VERSION",
    "MISSING",
    "NODE_FEATURES",
    "NUM_TASKS",
    "SPLITS",
    "Molecules",
    "part_name",
    "read_split",
]

DATASET = "ogbg"
FORMAT_VERSION = 2
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
NODE_FEATURES, EDGE_FEATURES, NUM_TASKS = 9, 3, 128
# Eight bytes an edge, so that one 64-bit word is read for each.
EDGE = np.dtype(
    [
        ("sender", "<u2"),
        ("receiver", "<u2"),
        ("features", "u1", (EDGE_FEATURES,)),
        ("unused", "u1"),
    ]
)


@dataclass(frozen=True)
class Molecules:
    """The graphs of one split, one after the other.

    nodes: uint8 [all nodes, 9]. edges: `EDGE` [all edges]; a graph's edges are its
    bonds in one direction, then the same bonds in the other; senders and receivers
    count from the graph's first node. labels: uint8 [graphs, 128], 0, 1 or `MISSING`.
    node_offsets, edge_offsets: int64 [graphs + 1], where each graph begins.
    """

    nodes: np.ndarray
    edges: np.ndarray
    labels: np.ndarray
    node_offsets: np.ndarray
    edge_offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_nodes(self) -> np.ndarray:
        """int64 [graphs]."""
        return np.diff(self.node_offsets)

    @property
    def num_edges(self) -> np.ndarray:
        """int64 [graphs], both directions counted."""
        return np.diff(self.edge_offsets)


KINDS = tuple(field.name for field in fields(Molecules))


def part_name(split: Split, kind: str) -> str:
    """The file of the prepared data that holds one array of a split."""
    return f"{split}-{kind}.npy"


def read_split(data: PreparedData, split: Split) -> Molecules:
    """The graphs of a split, mapped into memory: nothing is read until it is used.

    `eval_train` is a choice of training graphs, so it reads the train files.
    """
    stored = materialised(split)
    graphs = Molecules(*(data.array(part_name(stored, kind)) for kind in KINDS))
    if not _is_whole(graphs, data.counts[stored]):
        raise data.incomplete(stored, "graphs")
    return graphs


def _is_whole(graphs: Molecules, count: int) -> bool:
    return (
        len(graphs.labels) == count
        and len(graphs.node_offsets) == len(graphs.edge_offsets) == count + 1
        and graphs.node_offsets[-1] == len(graphs.nodes)
        and graphs.edge_offsets[-1] == len(graphs.edges)
    )
