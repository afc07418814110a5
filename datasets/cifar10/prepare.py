"""Raw official CIFAR-10 files -> prepared data.

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
CIFAR-10, one of these, packed or unpacked:
  cifar-10-binary.tar.gz (162 MB): cifar-10-batches-bin/data_batch_1.bin ... test_batch.bin
  cifar-10-python.tar.gz (163 MB): cifar-10-batches-py/data_batch_1 ... test_batch
From https://www.cs.toronto.edu/~kriz/cifar.html. Made by Krizhevsky, Nair and Hinton, who
state no licence and ask to cite the technical report "Learning Multiple Layers of Features
from Tiny Images" (2009)."""

TFDS = ("cifar10",)

DOWNLOADS = (
    OfficialFile(
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
        about_bytes=170_052_171,
        md5="c32a1d4ab5d03f1284b67883e8d87530",  # as that page lists it
    ),
)
_LAYOUT = cifar.Layout(
    archives=("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"),
    folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    files={
        "train": [f"data_batch_{number}" for number in range(1, 6)],
        "test": ["test_batch"],
    },
    label_bytes=1,
    labels_key=b"labels",
    num_classes=10,
)
_OFFICIAL = writing.Official(
    image_bytes=cifar.IMAGE_BYTES,
    train_per_class=(5000,) * 10,
    test_per_class=(1000,) * 10,
)
SPLITS, MINI_SPLITS = _OFFICIAL.splits, writing.MINI_SPLITS


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches the official binary archive (162 MB) into `raw`; checks its md5 sum."""
    fetch_all(DOWNLOADS, raw, progress)


def expand_embedded(raw: Path) -> None:
    """Writes pieces of ten free photographs in the official binary layout.

    A photograph is a class: 4,000 train images (of which 1,000 are from parts of their
    own, for validation) and 1,000 test images. They are not images of CIFAR-10.
    """
    for file, images in tiles.of_photographs().items():
        folder = raw / _LAYOUT.folders[0]
        cifar.write_binary(folder, _LAYOUT.files[file], images, coarse=None)


def _files(raw: Path) -> writing.RawImages:
    stored = stored_tfds.find(raw, TFDS[0], _OFFICIAL, (cifar.SIDE, cifar.SIDE, 3))
    return stored or cifar.CifarFiles(raw, _OFFICIAL, _LAYOUT, RAW_HELP)


_PREPARER = writing.Preparer(_OFFICIAL, _files)
space_needed, prepare = _PREPARER.space_needed, _PREPARER.prepare
