"""Raw official MNIST files -> prepared data.

Every `datasets/<name>/prepare.py` has these names, and the command line uses no others:

`FORMAT_VERSION`: raised whenever the prepared files change; older folders are refused.
`PACKAGES`: what it imports beside numpy, from the extra `data` (checked first); absent
if nothing.
`RAW_HELP`: which official files `--raw` must hold, where to get them, their licence.
`download(raw, progress)`: fetches them into the folder `raw`; absent where a licence
must be accepted first.
`expand_embedded(raw)`: writes the small real data that are shipped (the `_mini`
workload's) into `raw`, in the official layout, so that the same `prepare` runs on them.
`space_needed(raw, subset)`: bytes that the prepared data will take at most; of the full
data set if `raw` is None.
`prepare(raw, preparation, *, splits, subset, progress)`: raw files -> parts.
    Calls `preparation.identify(...)` first, skips parts that `preparation.has(...)`,
    writes the others inside `with preparation.part(...)`, and ends with
    `preparation.finish(...)`.
    `splits` (the definition's) says where train ends and validation begins, and how
    many raw examples there must be; `subset` keeps at most so many examples of each
    split. Bad raw data are one `BadData` that names the file (and row) and what to do.

`reader.py` beside it opens what was written, and exports `FORMAT_VERSION` on to it.
"""

import shutil
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, Splits
from algoperf.download import Progress, fetch, no_progress
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from . import idx
from .reader import FORMAT_VERSION, KINDS, SPLITS, part_name

__all__ = [
    "FORMAT_VERSION",
    "RAW_HELP",
    "download",
    "expand_embedded",
    "prepare",
    "space_needed",
]

RAW_HELP = """\
MNIST, four files (12 MB), gzip-packed or not:
  train-images-idx3-ubyte.gz  train-labels-idx1-ubyte.gz
  t10k-images-idx3-ubyte.gz   t10k-labels-idx1-ubyte.gz
From https://ossci-datasets.s3.amazonaws.com/mnist/ (a mirror of the original site,
yann.lecun.com/exdb/mnist). Made by LeCun, Cortes and Burges; commonly cited licence:
CC BY-SA 3.0."""

_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MD5 = {  # as torchvision checks them
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
_RAW_NAMES = {
    (file, kind): f"{file}-{kind}-idx{axes}-ubyte"
    for file in ("train", "t10k")
    for kind, axes in (("images", 3), ("labels", 1))
}
_SPLITS_OF_FILE: dict[str, tuple[Split, ...]] = {
    "train": ("train", "validation"),
    "t10k": ("test",),
}
_FULL_SIZE = 70_000  # examples
_EMBEDDED = Path(__file__).parent / "embedded"


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches the four official files (12 MB) into `raw`; checks their md5 sums."""
    for name, md5 in _MD5.items():
        fetch(_URL + name, raw / name, md5=md5, progress=progress)


def expand_embedded(raw: Path) -> None:
    """Writes 5,000 real MNIST images in the official layout: 4,000 train, 1,000 test.

    See embedded/NOTICE for their source and licence.
    """
    raw.mkdir(parents=True, exist_ok=True)
    for path in _EMBEDDED.glob("*.gz"):
        shutil.copyfile(path, raw / path.name)


def space_needed(raw: Path | None, subset: int | None = None) -> int:
    """Bytes of the prepared data, from the headers of the raw files."""
    if raw is None:
        count = _FULL_SIZE
    else:
        paths = (_find(raw, file, "images") for file in ("train", "t10k"))
        count = sum(idx.read_count(path, "images") for path in paths)
    if subset is not None:
        count = min(count, 3 * subset)
    return count * (idx.SIDE**2 + 1) + 4096  # an image, its label; headers, manifest


def prepare(
    raw: Path,
    preparation: Preparation,
    *,
    splits: Splits,
    subset: int | None = None,
    progress: Progress = no_progress,
) -> None:
    """Writes images and labels of each split as `.npy` files.

    The train file's first `splits.train` examples are train, the rest validation, as in
    the published benchmark; the t10k file is test.
    """
    paths = {key: _find(raw, *key) for key in _RAW_NAMES}
    sizes = {path.name: path.stat().st_size for path in paths.values()}
    preparation.identify(
        raw_bytes=sizes, train=splits.train, validation=splits.validation
    )
    counts: dict[str, int] = {
        split: min(splits.size(split), subset or splits.size(split)) for split in SPLITS
    }
    first = {"train": 0, "validation": splits.train, "test": 0}
    for file, stored in _SPLITS_OF_FILE.items():
        names = [part_name(split, kind) for split in stored for kind in KINDS]
        if all(map(preparation.has, names)):
            continue
        arrays = _read_pair(paths, file, splits)
        for split in stored:
            chosen = slice(first[split], first[split] + counts[split])
            part = {kind: array[chosen] for kind, array in arrays.items()}
            _write_split(preparation, split, part)
            progress(f"preparing {split}", counts[split], counts[split])
    preparation.finish(counts, facts={})


def _write_split(
    preparation: Preparation, split: Split, arrays: dict[str, np.ndarray]
) -> None:
    for kind, array in arrays.items():
        name = part_name(split, kind)
        if not preparation.has(name):
            with preparation.part(name) as path:
                np.save(path, array)


def _read_pair(
    paths: dict[tuple[str, str], Path], file: str, splits: Splits
) -> dict[str, np.ndarray]:
    """Images and labels of the train or t10k files, with their counts checked."""
    arrays = {kind: idx.read(paths[file, kind], kind) for kind in KINDS}
    counts = {kind: len(array) for kind, array in arrays.items()}
    if counts["images"] != counts["labels"]:
        raise BadData(
            f"{paths[file, 'images']} has {counts['images']:,} images, but "
            f"{paths[file, 'labels']} has {counts['labels']:,} labels. They do not "
            "belong together: get both official files again."
        )
    needed = splits.test if file == "t10k" else splits.train + splits.validation
    if counts["images"] != needed:
        raise BadData(
            f"{paths[file, 'images']} has {counts['images']:,} images; {needed:,} are "
            "expected. Get the official files; the small shipped data serve mnist_mini "
            "only."
        )
    return arrays


def _find(raw: Path, file: str, kind: str) -> Path:
    """The path of one raw file, packed or not."""
    input_files.check_raw_folder(raw, RAW_HELP)
    name = _RAW_NAMES[file, kind]
    found = input_files.first_of(raw, f"{name}.gz", name)
    if found is not None and not found.is_folder:
        return found.path
    expected = set(_MD5) | set(_RAW_NAMES.values())
    raise input_files.not_found(
        raw, f"no file {name}.gz", RAW_HELP, name=name, expected=expected
    )
