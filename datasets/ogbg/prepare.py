"""Raw official ogbg-molpcba files -> packed graphs.

The names that every data set's prepare.py has are explained in
`datasets/mnist/prepare.py`.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, Splits
from algoperf.download import Progress, fetch, no_progress
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from .reader import (
    EDGE,
    EDGE_FEATURES,
    FORMAT_VERSION,
    KINDS,
    NODE_FEATURES,
    NUM_TASKS,
    SPLITS,
    Molecules,
    part_name,
)
from .tables import Tables, zip_prefix

__all__ = [
    "FORMAT_VERSION",
    "RAW_HELP",
    "download",
    "expand_embedded",
    "prepare",
    "space_needed",
]

RAW_HELP = """\
ogbg-molpcba of the Open Graph Benchmark: pcba.zip (37 MB), or its unpacked folder with
(each gzip-packed or not)
  raw/node-feat.csv.gz      raw/edge-feat.csv.gz      raw/edge.csv.gz
  raw/num-node-list.csv.gz  raw/num-edge-list.csv.gz  raw/graph-label.csv.gz
  split/scaffold/train.csv.gz  split/scaffold/valid.csv.gz  split/scaffold/test.csv.gz
From https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/pcba.zip
(https://ogb.stanford.edu/docs/graphprop/#ogbg-mol). Licence: MIT."""

_ZIP = "pcba.zip"
_URL = f"https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/{_ZIP}"
_NODES, _BONDS = "raw/node-feat.csv.gz", "raw/edge.csv.gz"
_BOND_FEATURES, _LABELS = "raw/edge-feat.csv.gz", "raw/graph-label.csv.gz"
_NODE_COUNTS, _BOND_COUNTS = "raw/num-node-list.csv.gz", "raw/num-edge-list.csv.gz"
_RAW_NAMES = (_NODE_COUNTS, _BOND_COUNTS, _NODES, _BONDS, _BOND_FEATURES, _LABELS)
_SPLIT_NAMES = {
    "train": "split/scaffold/train.csv.gz",
    "validation": "split/scaffold/valid.csv.gz",
    "test": "split/scaffold/test.csv.gz",
}
# The folders that OGB's own download and its unpacked zip file have.
_FOLDERS = ("", "pcba", "ogbg_molpcba")
_MAX_NODES = np.iinfo(np.uint16).max  # of one graph: what `EDGE` can number
_MAX_FEATURE = np.iinfo(np.uint8).max
_MAX_COUNT = 999_999_999
# Packed bytes for each packed raw byte: about 330 MB are made of 37 MB.
_SPACE_FACTOR = 12
_PLAIN_SPACE_FACTOR = 3  # of raw files that are not packed
_FULL_BYTES = 400_000_000
_EMBEDDED = Path(__file__).parent / "embedded"


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches pcba.zip (37 MB) into `raw`.

    OGB publishes no checksum; the zip file's own are checked when it is read.
    """
    fetch(_URL, raw / _ZIP, progress=progress)


def expand_embedded(raw: Path) -> None:
    """Writes 4,800 real molecules with computed labels, in the official layout.

    See embedded/NOTICE for their source and licence.
    """
    for name in (*_RAW_NAMES, *_SPLIT_NAMES.values()):
        target = raw / "pcba" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_EMBEDDED / target.name, target)


def space_needed(raw: Path | None, subset: int | None = None) -> int:
    """Bytes of the prepared data, estimated from the size of the raw files.

    A subset is taken for the whole, which is small.
    """
    del subset
    if raw is None:
        return _FULL_BYTES
    tables = _find(raw)
    needed = sum(tables.size_bytes(name) * _factor(tables, name) for name in _RAW_NAMES)
    return needed + 100_000


def _factor(tables: Tables, name: str) -> int:
    return _SPACE_FACTOR if tables.is_packed(name) else _PLAIN_SPACE_FACTOR


def prepare(
    raw: Path,
    preparation: Preparation,
    *,
    splits: Splits,
    subset: int | None = None,
    progress: Progress = no_progress,
) -> None:
    """Writes the packed graphs of each split, in the order of OGB's split lists."""
    tables = _find(raw)
    names = (*_RAW_NAMES, *_SPLIT_NAMES.values())
    preparation.identify(raw_bytes={name: tables.size_bytes(name) for name in names})
    chosen = _read_split_lists(tables, splits)
    counts: dict[str, int] = {
        split: min(len(ids), subset or len(ids)) for split, ids in chosen.items()
    }
    parts = [part_name(split, kind) for split in SPLITS for kind in KINDS]
    if not all(map(preparation.has, parts)):
        source = _read_raw(tables, progress)
        _check_split_lists(tables, chosen, len(source.labels))
        for split in SPLITS:
            graphs = source.packed(chosen[split][: counts[split]])
            _write_split(preparation, split, graphs)
            progress(f"preparing {split}", counts[split], counts[split])
    preparation.finish(counts, facts={})


def _write_split(preparation: Preparation, split: Split, graphs: Molecules) -> None:
    for kind in KINDS:
        name = part_name(split, kind)
        if not preparation.has(name):
            with preparation.part(name) as path:
                np.save(path, getattr(graphs, kind))


@dataclass(frozen=True)
class _Source:
    """The raw tables: all graphs, one after the other, bonds in one direction."""

    nodes: np.ndarray  # uint8 [nodes, 9]
    bonds: np.ndarray  # uint16 [bonds, 2]
    bond_features: np.ndarray  # uint8 [bonds, 3]
    labels: np.ndarray  # uint8 [graphs, 128]
    num_nodes: np.ndarray  # int64 [graphs]
    num_bonds: np.ndarray  # int64 [graphs]

    def packed(self, graphs: np.ndarray) -> Molecules:
        """The chosen graphs, with bonds in both directions."""
        node_starts, bond_starts = _starts(self.num_nodes), _starts(self.num_bonds)
        num_nodes, num_bonds = self.num_nodes[graphs], self.num_bonds[graphs]
        nodes = _ranges(node_starts[graphs], num_nodes)
        # Each graph's bonds twice; the second time from receiver to sender.
        bonds = _ranges(np.repeat(bond_starts[graphs], 2), np.repeat(num_bonds, 2))
        turn = np.tile([False, True], len(graphs))
        turned = np.repeat(turn, np.repeat(num_bonds, 2))
        ends = self.bonds[bonds]
        edges = np.zeros(len(bonds), EDGE)
        edges["sender"] = np.where(turned, ends[:, 1], ends[:, 0])
        edges["receiver"] = np.where(turned, ends[:, 0], ends[:, 1])
        edges["features"] = self.bond_features[bonds]
        return Molecules(
            nodes=self.nodes[nodes],
            edges=edges,
            labels=self.labels[graphs],
            node_offsets=np.append(_starts(num_nodes), len(nodes)),
            edge_offsets=np.append(_starts(2 * num_bonds), len(bonds)),
        )


def _starts(lengths: np.ndarray) -> np.ndarray:
    starts: np.ndarray = np.cumsum(lengths) - lengths
    return starts


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, … for each range, one after the other: int64."""
    shifts = np.repeat(starts - _starts(lengths), lengths)
    return shifts + np.arange(len(shifts))


def _read_raw(tables: Tables, progress: Progress) -> _Source:
    def read(name: str, columns: int, maximum: int, dtype: type) -> np.ndarray:
        progress(f"reading {name}", 0, None)
        return tables.integers(name, columns, maximum=maximum, dtype=dtype)

    source = _Source(
        num_nodes=read(_NODE_COUNTS, 1, _MAX_NODES, np.int64)[:, 0],
        num_bonds=read(_BOND_COUNTS, 1, _MAX_COUNT, np.int64)[:, 0],
        nodes=read(_NODES, NODE_FEATURES, _MAX_FEATURE, np.uint8),
        bonds=read(_BONDS, 2, _MAX_NODES, np.uint16),
        bond_features=read(_BOND_FEATURES, EDGE_FEATURES, _MAX_FEATURE, np.uint8),
        labels=tables.labels(_LABELS, NUM_TASKS),
    )
    _check_raw(tables, source)
    return source


def _check_raw(tables: Tables, source: _Source) -> None:
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


def _read_split_lists(tables: Tables, splits: Splits) -> dict[Split, np.ndarray]:
    """The graphs of each split: int64, in the order of OGB's lists."""
    chosen = {}
    for split in SPLITS:
        name = _SPLIT_NAMES[split]
        ids = tables.integers(name, 1, maximum=_MAX_COUNT, dtype=np.int64)[:, 0]
        if len(ids) != splits.size(split):
            raise BadData(
                f"{tables.shown(name)} lists {len(ids):,} graphs; "
                f"{splits.size(split):,} are expected. Get the official files; the "
                "small shipped data serve ogbg_mini only."
            )
        chosen[split] = ids
    return chosen


def _check_split_lists(
    tables: Tables, chosen: dict[Split, np.ndarray], num_graphs: int
) -> None:
    taken = np.zeros(num_graphs, bool)
    for split, ids in chosen.items():
        shown = tables.shown(_SPLIT_NAMES[split])
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


def _find(raw: Path) -> Tables:
    """The official files in `raw`: unpacked, or else as the zip file."""
    input_files.check_raw_folder(raw, RAW_HELP)
    for folder in _FOLDERS:
        if input_files.is_folder(raw / folder / "raw"):
            return Tables(raw / folder)
    if input_files.is_file(raw / _ZIP):
        return Tables(raw / _ZIP, zip_prefix(raw / _ZIP, _NODES))
    lacks = f"neither {_ZIP} nor a folder named raw"
    raise input_files.not_found(raw, lacks, RAW_HELP, name=_ZIP)
