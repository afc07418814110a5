"""Raw official SVHN files (cropped digits) -> prepared data.

The names that every data set's `prepare.py` has are explained in `datasets/mnist`.
"""

from pathlib import Path

from algoperf.datasets._images import stored_tfds, writing
from algoperf.download import Progress, no_progress
from algoperf.downloads import OfficialFile, fetch_all

from . import composed, matlab
from .reader import FORMAT_VERSION

__all__ = [
    "DOWNLOADS",
    "FORMAT_VERSION",
    "MINI_SPLITS",
    "PACKAGES",
    "RAW_HELP",
    "SPLITS",
    "TFDS",
    "download",
    "expand_embedded",
    "prepare",
    "space_needed",
]

PACKAGES = ("scipy.io",)

RAW_HELP = """\
SVHN, the cropped digits (format 2), two files (246 MB):
  train_32x32.mat  test_32x32.mat
From http://ufldl.stanford.edu/housenumbers/. Made by Netzer, Wang, Coates, Bissacco, Wu and
Ng; for non-commercial use only."""

TFDS = ("svhn_cropped",)

_URL = "http://ufldl.stanford.edu/housenumbers/"
DOWNLOADS = tuple(
    OfficialFile((_URL + name,), about_bytes=size, md5=md5)
    for name, size, md5 in (  # as torchvision checks them
        ("train_32x32.mat", 182_040_794, "e26dedcc434d2e4c54c9b2d4a06d8373"),
        ("test_32x32.mat", 64_275_384, "eb5a983be6a315427106f1b164d9cef3"),
    )
)
_OFFICIAL = writing.Official(
    image_bytes=matlab.IMAGE_BYTES,
    train_per_class=(4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
    test_per_class=(1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
)
SPLITS, MINI_SPLITS = _OFFICIAL.splits, writing.MINI_SPLITS


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches the two official files (246 MB) into `raw`; checks their md5 sums."""
    fetch_all(DOWNLOADS, raw, progress)


def expand_embedded(raw: Path) -> None:
    """Writes real digits, blended over free photographs, in the official layout.

    4,000 train images, of which the last 1,000 are for validation, and 1,000 test images.
    They are composed, and not images of SVHN.
    """
    composed.expand(raw)


def _files(raw: Path) -> writing.RawImages:
    stored = stored_tfds.find(raw, TFDS[0], _OFFICIAL, (matlab.SIDE, matlab.SIDE, 3))
    return stored or matlab.MatlabFiles(raw, _OFFICIAL, RAW_HELP)


_PREPARER = writing.Preparer(_OFFICIAL, _files)
space_needed, prepare = _PREPARER.space_needed, _PREPARER.prepare
