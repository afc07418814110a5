"""Raw official MNIST files -> prepared data.

Every `datasets/<name>/prepare.py` has these names, and the command line uses no others:

`FORMAT_VERSION`: raised whenever the prepared files change; older folders are refused.
`PACKAGES`: what it imports beside numpy, from the extra `data` (checked first); absent
if nothing.
`SPLITS`, `MINI_SPLITS`: the numbers of examples that `algoperf prepare` makes, in full and
in the shipped form, where no workload of that data set says otherwise.
`RAW_HELP`: which official files `--raw` must hold, where to get them, their licence.
`TFDS`: the data sets of tensorflow-datasets that `--from tfds` needs; absent if it is not
read. `prepare` and `space_needed` then take the folder that they are in as `raw`.
`PUBLISHED`: where the published benchmark's data folder has them, for `--from published`.
`DOWNLOADS`: the official files with addresses, mirrors and checksums.
`download(raw, progress)`: fetches them into the folder `raw`; absent, like `DOWNLOADS`,
where a licence must be accepted first.
`expand_embedded(raw)`: writes the small real data that are shipped (the `_mini`
workload's) into `raw`, in the official layout, so that the same `prepare` runs on them.
`space_needed(raw, subset)`: bytes that the prepared data will take at most; of the full
data set if `raw` is None.
`prepare(raw, preparation, *, splits, subset, progress)`: raw files -> parts.
    Calls `preparation.identify(...)` first, skips parts that `preparation.has(...)`,
    writes the others inside `with preparation.part(...)`, and ends with
    `preparation.finish(...)`.
    `splits` (the definition's) says where train ends and validation begins, and how
    many raw examples there must be; `subset` keeps at most that many examples of each
    split. Bad raw data are one `BadData` that names the file (and row) and what to do.

`reader.py` beside it opens what was written, and exports `FORMAT_VERSION` on to it.
"""

from pathlib import Path

from algoperf.datasets._images import stored_tfds, writing
from algoperf.datasets._images.idx import SIDE
from algoperf.datasets._images.idx_files import IdxFiles, copy_embedded
from algoperf.download import Progress, no_progress
from algoperf.downloads import OfficialFile, fetch_all, mirrored

from .reader import FORMAT_VERSION

__all__ = [
    "DOWNLOADS",
    "FORMAT_VERSION",
    "RAW_HELP",
    "TFDS",
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

TFDS = ("mnist",)

_FOLDERS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
DOWNLOADS = tuple(
    OfficialFile(mirrored(name, *_FOLDERS), about_bytes=size, md5=md5)
    for name, size, md5 in (  # as torchvision checks them
        ("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    )
)
_OFFICIAL = writing.Official(
    image_bytes=SIDE**2,
    train_per_class=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    test_per_class=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
)
_EMBEDDED = Path(__file__).parent / "embedded"


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches the four official files (12 MB) into `raw`; checks their md5 sums."""
    fetch_all(DOWNLOADS, raw, progress)


def expand_embedded(raw: Path) -> None:
    """Writes 5,000 real MNIST images in the official layout: 4,000 train, 1,000 test.

    See embedded/NOTICE for their source and licence.
    """
    copy_embedded(_EMBEDDED, raw)


def embedded_files() -> IdxFiles:
    """The shipped images, as raw files."""
    return IdxFiles(_EMBEDDED, _OFFICIAL, RAW_HELP)


def _files(raw: Path) -> writing.RawImages:
    stored = stored_tfds.find(raw, TFDS[0], _OFFICIAL, (SIDE, SIDE))
    return stored or IdxFiles(raw, _OFFICIAL, RAW_HELP)


_PREPARER = writing.Preparer(_OFFICIAL, _files)
space_needed, prepare = _PREPARER.space_needed, _PREPARER.prepare
