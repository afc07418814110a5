"""ogbg-molpcba as tensorflow-datasets stores it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from algoperf.definition import Split
from algoperf.download import Progress
from algoperf.tfds import Example, TfdsFolder

from .graphs import Graphs
from .reader import EDGE_FEATURES, NODE_FEATURES, NUM_TASKS, SPLITS, Molecules
from .tables import MISSING

NAME = "ogbg_molpcba"
_MAX_NODES = np.iinfo(np.uint16).max
_MAX_FEATURE = np.iinfo(np.uint8).max
_REPORTED = 10_000  # graphs between two reports of progress


class StoredGraphs:
    """The three splits of a folder of tensorflow-datasets, in its order."""

    def __init__(self, folder: TfdsFolder, progress: Progress) -> None:
        folder.check_packages()
        self._folder = folder
        self._progress = progress

    def sizes(self) -> dict[str, int]:
        """Bytes of every file that is used, by name."""
        return self._folder.sizes(*SPLITS)

    def shown(self, split: Split) -> str:
        """What messages call a split."""
        return f"{self._folder.path}, split {split},"

    def count(self, split: Split) -> int:
        """Number of graphs that the folder says it has."""
        return self._folder.count(split)

    def packed(self, split: Split, number: int) -> Molecules:
        """The first graphs of a split."""
        found: list[Graphs] = []
        for example in self._folder.examples(split):
            if len(found) == number:
                break
            found.append(_graph(example))
            if len(found) % _REPORTED == 0 or len(found) == number:
                self._progress(f"reading {split}", len(found), number)
        return _joined(found).packed(np.arange(len(found)))


def find(raw: Path, progress: Progress) -> StoredGraphs | None:
    """The data set below a folder of tensorflow-datasets; None if it is not there."""
    folder = TfdsFolder.find(raw, NAME)
    return None if folder is None else StoredGraphs(folder, progress)


def _graph(example: Example) -> Graphs:
    """One graph of its own."""
    num_nodes, num_bonds = example.number("num_nodes"), example.number("num_edges")
    nodes = _features(example, "node_feat", num_nodes, NODE_FEATURES)
    bonds = example.integers("edge_index").reshape(-1, 2)
    if len(bonds) != num_bonds:
        raise example.bad(f"it has {len(bonds)} bonds, not {num_bonds}")
    if not ((bonds >= 0) & (bonds < num_nodes)).all() or num_nodes > _MAX_NODES:
        raise example.bad(f"its bonds do not fit its {num_nodes} nodes")
    labels = example.floats("labels")
    is_missing = np.isnan(labels)
    known = labels[~is_missing]
    if len(labels) != NUM_TASKS or not ((known == 0) | (known == 1)).all():
        raise example.bad(f"its labels are not {NUM_TASKS} of 0, 1 and NaN")
    return Graphs(
        nodes=nodes,
        bonds=bonds.astype(np.uint16),
        bond_features=_features(example, "edge_feat", num_bonds, EDGE_FEATURES),
        labels=np.where(is_missing, MISSING, labels).astype(np.uint8)[np.newaxis],
        num_nodes=np.array([num_nodes]),
        num_bonds=np.array([num_bonds]),
    )


def _features(example: Example, name: str, rows: int, columns: int) -> np.ndarray:
    """Small integers that are stored as floats: uint8 [rows, columns]."""
    values = example.floats(name)
    is_good = (values >= 0) & (values <= _MAX_FEATURE) & (values == np.rint(values))
    if values.size != rows * columns or not is_good.all():
        raise example.bad(
            f"{name!r} is not {rows} rows of {columns} integers from 0 to {_MAX_FEATURE}"
        )
    return values.reshape(rows, columns).astype(np.uint8)


def _joined(found: list[Graphs]) -> Graphs:
    def columns() -> Iterator[tuple[str, np.ndarray]]:
        for name in Graphs.__dataclass_fields__:
            yield name, np.concatenate([getattr(graph, name) for graph in found])

    return Graphs(**dict(columns()))
