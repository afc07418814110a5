"""Raw official Fashion-MNIST files -> prepared data.

The names that every data set's `prepare.py` has are explained in `datasets/mnist`.
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
    "MINI_SPLITS",
    "RAW_HELP",
    "SPLITS",
    "TFDS",
    "download",
    "expand_embedded",
    "prepare",
    "space_needed",
]

RAW_HELP = """\
Fashion-MNIST, four files (31 MB), gzip-packed or not:
  train-images-idx3-ubyte.gz  train-labels-idx1-ubyte.gz
  t10k-images-idx3-ubyte.gz   t10k-labels-idx1-ubyte.gz
From http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/, or from Debian's package
dataset-fashion-mnist, which installs them in /usr/share/datasets/fashion-mnist. Made by
Zalando Research; MIT licence."""

TFDS = ("fashion_mnist",)

_FOLDERS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)
DOWNLOADS = tuple(
    OfficialFile(mirrored(name, *_FOLDERS), about_bytes=size, md5=md5)
    for name, size, md5 in (  # as the project's page lists them
        ("train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
    )
)
_OFFICIAL = writing.Official(
    image_bytes=SIDE**2,
    train_per_class=(6000,) * 10,
    test_per_class=(1000,) * 10,
)
SPLITS, MINI_SPLITS = _OFFICIAL.splits, writing.MINI_SPLITS
_EMBEDDED = Path(__file__).parent / "embedded"


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches the four official files (31 MB) into `raw`; checks their md5 sums."""
    fetch_all(DOWNLOADS, raw, progress)


def expand_embedded(raw: Path) -> None:
    """Writes 5,000 real images in the official layout: 4,000 train, 1,000 test.

    See embedded/NOTICE for their source and licence.
    """
    copy_embedded(_EMBEDDED, raw)


def _files(raw: Path) -> writing.RawImages:
    stored = stored_tfds.find(raw, TFDS[0], _OFFICIAL, (SIDE, SIDE))
    return stored or IdxFiles(raw, _OFFICIAL, RAW_HELP)


_PREPARER = writing.Preparer(_OFFICIAL, _files)
space_needed, prepare = _PREPARER.space_needed, _PREPARER.prepare
