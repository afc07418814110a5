"""Labelled images that tensorflow-datasets has prepared, in the order of the raw files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf import packages
from algoperf.errors import BadData
from algoperf.tfds import Example, TfdsFolder, stored_order

from .stored import LabelledImages
from .writing import Official, RawFile

_FILES: tuple[RawFile, ...] = ("train", "test")


@dataclass(frozen=True)
class TfdsImages:
    """The splits train and test of a data set. shape: of an image, without one channel."""

    folder: TfdsFolder
    official: Official
    shape: tuple[int, ...]

    def sizes(self) -> dict[str, int]:
        """Names of the files and their sizes in bytes."""
        return self.folder.sizes(*_FILES)

    def shown(self, file: RawFile) -> Path:
        """The path that messages name."""
        return self.folder.path / f"{self.folder.name}-{file}.{self.folder.file_format}"

    def count(self, file: RawFile) -> int:
        """Number of images that the folder says it has."""
        return self.folder.count(file)

    def read(self, file: RawFile) -> LabelledImages:
        """Images uint8 [n, *shape] and labels uint8 [n].

        The builder's keys are the images' numbers in the raw files.
        """
        count, num_classes = self.count(file), len(self.official.per_class(file))
        images = np.empty((count, *self.shape), np.uint8)
        labels = np.empty(count, np.uint8)
        order = stored_order(range(count), file).tolist()
        examples = self.folder.examples(file)
        for number, example in zip(order, examples, strict=True):
            label = example.number("label")
            if not 0 <= label < num_classes:
                raise example.bad(f"its label is {label}, not 0 to {num_classes - 1}")
            _check_number(example, number)
            images[number] = example.pixels("image", self.shape)
            labels[number] = label
        return LabelledImages(images, labels)


def find(
    raw: Path, name: str, official: Official, shape: tuple[int, ...]
) -> TfdsImages | None:
    """The data set `name` below a folder of tensorflow-datasets; None if it is not there."""
    folder = TfdsFolder.find(raw, name)
    if folder is None:
        return None
    folder.check_packages()
    packages.check(("PIL.Image",), "Decoding stored images")
    return TfdsImages(folder, official, shape)


def _check_number(example: Example, number: int) -> None:
    """Some builders write the number, behind the split's name; then the order is certain."""
    if not example.has("id"):
        return
    found = example.text("id").rpartition("_")[2]
    if not found.isdigit() or int(found) != number:
        raise BadData(
            f"{example.place.shown} is image {found} of the raw files; number {number:,} is "
            "expected there. The folder was not written by tensorflow-datasets' own "
            "builder: let it prepare the data again."
        )
