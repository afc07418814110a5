"""Raw official CIFAR-100 files -> prepared data.

The names that every data set's `prepare.py` has are explained in `datasets/mnist`.
"""

from pathlib import Path

from algoperf.datasets._images import cifar, stored_tfds, tiles, writing
from algoperf.download import Progress, no_progress
from algoperf.downloads import OfficialFile, fetch_all

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
CIFAR-100, one of these, packed or unpacked:
  cifar-100-binary.tar.gz (161 MB): cifar-100-binary/train.bin and test.bin
  cifar-100-python.tar.gz (161 MB): cifar-100-python/train and test
From https://www.cs.toronto.edu/~kriz/cifar.html. Made by Krizhevsky, Nair and Hinton, who
state no licence and ask to cite the technical report "Learning Multiple Layers of Features
from Tiny Images" (2009)."""

TFDS = ("cifar100",)

DOWNLOADS = (
    OfficialFile(
        ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
        about_bytes=168_513_733,
        md5="03b5dce01913d631647c71ecec9e9cb8",  # as that page lists it
    ),
)
_LAYOUT = cifar.Layout(
    archives=("cifar-100-binary.tar.gz", "cifar-100-python.tar.gz"),
    folders=("cifar-100-binary", "cifar-100-python"),
    files={"train": ["train"], "test": ["test"]},
    label_bytes=2,
    labels_key=b"fine_labels",
    num_classes=100,
)
_OFFICIAL = writing.Official(
    image_bytes=cifar.IMAGE_BYTES,
    train_per_class=(500,) * 100,
    test_per_class=(100,) * 100,
)
SPLITS, MINI_SPLITS = _OFFICIAL.splits, writing.MINI_SPLITS
_COLOURINGS = 10  # of each shipped photograph; 100 classes in all


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches the official binary archive (161 MB) into `raw`; checks its md5 sum."""
    fetch_all(DOWNLOADS, raw, progress)


def expand_embedded(raw: Path) -> None:
    """Writes pieces of ten free photographs, recoloured, in the official binary layout.

    A class is a photograph in one of ten orders of its colours: 4,000 train images (of
    which 1,000 are from parts of their own, for validation) and 1,000 test images. They
    are not images of CIFAR-100.
    """
    for file, images in tiles.of_photographs(_COLOURINGS).items():
        coarse = images.labels // 5  # 20 groups of 5 classes, as in CIFAR-100
        folder = raw / _LAYOUT.folders[0]
        cifar.write_binary(folder, _LAYOUT.files[file], images, coarse)


def _files(raw: Path) -> writing.RawImages:
    stored = stored_tfds.find(raw, TFDS[0], _OFFICIAL, (cifar.SIDE, cifar.SIDE, 3))
    return stored or cifar.CifarFiles(raw, _OFFICIAL, _LAYOUT, RAW_HELP)


_PREPARER = writing.Preparer(_OFFICIAL, _files)
space_needed, prepare = _PREPARER.space_needed, _PREPARER.prepare
