"""ImageNet as tensorflow-datasets stores it: which images its records hold.

The images of a record are read again when they are written, so that they need no memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from algoperf.download import Progress
from algoperf.tfds import Example, TfdsFolder
from algoperf.tfds.records import Place

ILSVRC2012, V2 = "imagenet2012", "imagenet_v2/matched-frequency"
_REPORTED = 1_000  # images between two reports of progress


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in a record; see `archives.RawImage`."""

    name: str
    class_name: str
    place: Place
    size: int  # bytes

    def read(self) -> bytes:
        """Its bytes."""
        return Example(self.place).content("image")

    @property
    def shown(self) -> str:
        """Its name for people."""
        return f"{self.place.shown}, image {self.name} of class {self.class_name}"


def find_v2(raw: Path) -> TfdsFolder | None:
    """ImageNet-v2 in `raw`, or beside it as the published benchmark keeps it."""
    places = [raw]
    if raw.name in ("jax", "pytorch"):
        places += [raw.parent / "jax", raw.parent / "pytorch", raw.parent]
    found = (TfdsFolder.find(place, V2) for place in places)
    return next((folder for folder in found if folder is not None), None)


def ilsvrc2012(folder: TfdsFolder, split: str, progress: Progress) -> list[StoredImage]:
    """The images of the split `train` or `validation`, with the names of their classes."""
    names = folder.class_names()
    images = []
    for example in _reported(folder, split, progress):
        label = example.number("label")
        if not 0 <= label < len(names):
            raise example.bad(f"its label is {label}, not 0 to {len(names) - 1}")
        images.append(_image(example, example.text("file_name"), names[label]))
    return images


def v2(folder: TfdsFolder, progress: Progress) -> list[StoredImage]:
    """The images of ImageNet-v2; their classes have numbers."""
    images = []
    for example in _reported(folder, "test", progress):
        _, _, name = example.text("file_name").rpartition("/")
        images.append(_image(example, name, str(example.number("label"))))
    return images


def _image(example: Example, name: str, class_name: str) -> StoredImage:
    size = len(example.content("image"))
    return StoredImage(name, class_name, example.place, size)


def _reported(folder: TfdsFolder, split: str, progress: Progress) -> Iterator[Example]:
    total = folder.count(split)
    for number, example in enumerate(folder.examples(split), 1):
        yield example
        if number % _REPORTED == 0 or number == total:
            progress(f"listing {folder.name} {split}", number, total)
