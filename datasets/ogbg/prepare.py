"""Raw official ogbg-molpcba files -> packed graphs.

The names that every data set's prepare.py has are explained in
`datasets/mnist/prepare.py`.
"""

import shutil
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, Splits
from algoperf.download import Progress, no_progress
from algoperf.downloads import OfficialFile, fetch_all
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from . import stored
from .raw import RAW_NAMES, SPLIT_NAMES, RawGraphs
from .reader import FORMAT_VERSION, KINDS, SPLITS, Molecules, part_name
from .tables import Tables, zip_prefix

__all__ = [
    "DOWNLOADS",
    "FORMAT_VERSION",
    "PUBLISHED",
    "RAW_HELP",
    "TFDS",
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

TFDS = (stored.NAME,)
PUBLISHED = ("ogbg",)

_ZIP = "pcba.zip"
_URL = f"https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/{_ZIP}"
DOWNLOADS = (OfficialFile((_URL,), about_bytes=37_000_000),)
# The folders that OGB's own download and its unpacked zip file have.
_FOLDERS = ("", "pcba", "ogbg_molpcba")
# Packed bytes for each packed raw byte: about 330 MB are made of 37 MB.
_SPACE_FACTOR = 12
_PLAIN_SPACE_FACTOR = 3  # of raw files that are not packed
_FULL_BYTES = 400_000_000
_OVERHEAD_BYTES = 100_000  # headers, manifest
_EMBEDDED = Path(__file__).parent / "embedded"


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches pcba.zip (37 MB) into `raw`.

    OGB publishes no checksum; the zip file's own are checked when it is read.
    """
    fetch_all(DOWNLOADS, raw, progress)


def expand_embedded(raw: Path) -> None:
    """Writes 4,800 real molecules with computed labels, in the official layout.

    See embedded/NOTICE for their source and licence.
    """
    for name in (*RAW_NAMES, *SPLIT_NAMES.values()):
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
    from_tfds = stored.find(raw, no_progress)
    if from_tfds is not None:
        return sum(from_tfds.sizes().values()) + _OVERHEAD_BYTES
    tables = _find(raw)
    needed = sum(tables.size_bytes(name) * _factor(tables, name) for name in RAW_NAMES)
    return needed + _OVERHEAD_BYTES


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
    """Writes the packed graphs of each split, in the order of tensorflow-datasets."""
    source = stored.find(raw, progress) or RawGraphs(_find(raw), progress)
    preparation.identify(raw_bytes=source.sizes())
    counts: dict[str, int] = {}
    for split in SPLITS:
        found = source.count(split)
        if found != splits.size(split):
            raise BadData(
                f"{source.shown(split)} lists {found:,} graphs; "
                f"{splits.size(split):,} are expected. Get the official files; the small "
                "shipped data serve ogbg_mini only."
            )
        counts[split] = min(found, subset or found)
    for split in SPLITS:
        if not all(preparation.has(part_name(split, kind)) for kind in KINDS):
            _write_split(preparation, split, source.packed(split, counts[split]))
            progress(f"preparing {split}", counts[split], counts[split])
    preparation.finish(counts, facts={})


def _write_split(preparation: Preparation, split: Split, graphs: Molecules) -> None:
    for kind in KINDS:
        name = part_name(split, kind)
        if not preparation.has(name):
            with preparation.part(name) as path:
                np.save(path, getattr(graphs, kind))


def _find(raw: Path) -> Tables:
    """The official files in `raw`: unpacked, or else as the zip file."""
    input_files.check_raw_folder(raw, RAW_HELP)
    for folder in _FOLDERS:
        if input_files.is_folder(raw / folder / "raw"):
            return Tables(raw / folder)
    if input_files.is_file(raw / _ZIP):
        return Tables(raw / _ZIP, zip_prefix(raw / _ZIP, RAW_NAMES[0]))
    lacks = f"neither {_ZIP} nor a folder named raw"
    raise input_files.not_found(raw, lacks, RAW_HELP, name=_ZIP)
