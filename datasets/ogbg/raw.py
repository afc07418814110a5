"""The official tables of ogbg-molpcba: all graphs, and which of them make each split."""

from collections.abc import Mapping

import numpy as np

from algoperf.definition import Split
from algoperf.download import Progress
from algoperf.errors import BadData
from algoperf.tfds import stored_order

from .graphs import Graphs
from .reader import EDGE_FEATURES, NODE_FEATURES, NUM_TASKS, SPLITS, Molecules
from .tables import Tables

_NODES, _BONDS = "raw/node-feat.csv.gz", "raw/edge.csv.gz"
_BOND_FEATURES, _LABELS = "raw/edge-feat.csv.gz", "raw/graph-label.csv.gz"
_NODE_COUNTS, _BOND_COUNTS = "raw/num-node-list.csv.gz", "raw/num-edge-list.csv.gz"
RAW_NAMES = (_NODE_COUNTS, _BOND_COUNTS, _NODES, _BONDS, _BOND_FEATURES, _LABELS)
SPLIT_NAMES: Mapping[Split, str] = {
    "train": "split/scaffold/train.csv.gz",
    "validation": "split/scaffold/valid.csv.gz",
    "test": "split/scaffold/test.csv.gz",
}
_MAX_NODES = np.iinfo(np.uint16).max  # of one graph: what `EDGE` can number
_MAX_FEATURE = np.iinfo(np.uint8).max
_MAX_COUNT = 999_999_999


class RawGraphs:
    """The tables in a folder or a zip file. They are read when they are needed."""

    def __init__(self, tables: Tables, progress: Progress) -> None:
        self._tables = tables
        self._progress = progress
        self._graphs: Graphs | None = None
        self._lists: dict[Split, np.ndarray] = {}

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is used, by name."""
        names = (*RAW_NAMES, *SPLIT_NAMES.values())
        return {name: self._tables.size_bytes(name) for name in names}

    def shown(self, split: Split) -> str:
        """What messages call the list of a split."""
        return self._tables.shown(SPLIT_NAMES[split])

    def count(self, split: Split) -> int:
        """Number of graphs that a split's list names."""
        return len(self._list(split))

    def packed(self, split: Split, number: int) -> Molecules:
        """The first graphs of a split in the order of tensorflow-datasets.

        The published benchmark reads that one: by a hash of the graphs' numbers.
        """
        if self._graphs is None:
            self._graphs = _read_raw(self._tables, self._progress)
            chosen = {split: self._list(split) for split in SPLITS}
            _check_split_lists(self._tables, chosen, len(self._graphs.labels))
        ids = np.sort(self._list(split))
        return self._graphs.packed(ids[stored_order(ids.tolist(), split)[:number]])

    def _list(self, split: Split) -> np.ndarray:
        """The numbers of a split's graphs: int64, in the order of OGB's list."""
        if split not in self._lists:
            name = SPLIT_NAMES[split]
            self._lists[split] = self._tables.integers(
                name, 1, maximum=_MAX_COUNT, dtype=np.int64
            )[:, 0]
        return self._lists[split]


def _read_raw(tables: Tables, progress: Progress) -> Graphs:
    def read(name: str, columns: int, maximum: int, dtype: type) -> np.ndarray:
        progress(f"reading {name}", 0, None)
        return tables.integers(name, columns, maximum=maximum, dtype=dtype)

    source = Graphs(
        num_nodes=read(_NODE_COUNTS, 1, _MAX_NODES, np.int64)[:, 0],
        num_bonds=read(_BOND_COUNTS, 1, _MAX_COUNT, np.int64)[:, 0],
        nodes=read(_NODES, NODE_FEATURES, _MAX_FEATURE, np.uint8),
        bonds=read(_BONDS, 2, _MAX_NODES, np.uint16),
        bond_features=read(_BOND_FEATURES, EDGE_FEATURES, _MAX_FEATURE, np.uint8),
        labels=tables.labels(_LABELS, NUM_TASKS),
    )
    _check_raw(tables, source)
    return source


def _check_raw(tables: Tables, source: Graphs) -> None:
    num_graphs = len(source.num_nodes)
    for name, rows, expected, what in (
        (_BOND_COUNTS, len(source.num_bonds), num_graphs, _NODE_COUNTS),
        (_LABELS, len(source.labels), num_graphs, _NODE_COUNTS),
        (_NODES, len(source.nodes), source.num_nodes.sum(), _NODE_COUNTS),
        (_BONDS, len(source.bonds), source.num_bonds.sum(), _BOND_COUNTS),
        (_BOND_FEATURES, len(source.bond_features), len(source.bonds), _BONDS),
    ):
        if rows != expected:
            raise BadData(
                f"{tables.shown(name)} has {rows:,} rows; {expected:,} are expected "
                f"from {what}. They do not belong together: get the official files "
                "again."
            )
    limit = np.repeat(source.num_nodes, source.num_bonds)
    is_outside = (source.bonds >= limit[:, np.newaxis]).any(axis=1)
    if is_outside.any():
        row = int(np.argmax(is_outside))
        raise BadData(
            f"{tables.shown(_BONDS)}, row {row + 1:,} joins nodes "
            f"{' and '.join(map(str, source.bonds[row]))} of a graph with "
            f"{limit[row]} nodes. Get the official file again."
        )


def _check_split_lists(
    tables: Tables, chosen: dict[Split, np.ndarray], num_graphs: int
) -> None:
    taken = np.zeros(num_graphs, bool)
    for split, ids in chosen.items():
        shown = tables.shown(SPLIT_NAMES[split])
        if ids.max() >= num_graphs:
            row = int(np.argmax(ids >= num_graphs))
            raise BadData(
                f"{shown}, row {row + 1:,} names graph {ids[row]:,}; there are "
                f"{num_graphs:,}. Get the official files again."
            )
        is_first = np.zeros(len(ids), bool)
        is_first[np.unique(ids, return_index=True)[1]] = True
        is_repeated = taken[ids] | ~is_first
        if is_repeated.any():
            row = int(np.argmax(is_repeated))
            raise BadData(
                f"{shown}, row {row + 1:,} names graph {ids[row]:,}, which was listed "
                "before, here or in another split. Get the official files again."
            )
        taken[ids] = True
