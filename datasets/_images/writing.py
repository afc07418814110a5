"""Raw labelled images in two files, train and test -> prepared data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from algoperf.definition import Split, Splits
from algoperf.download import Progress, no_progress
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from .stored import KINDS, SPLITS, VALIDATION_IS_TEST, LabelledImages, part_name

RawFile = Literal["train", "test"]
# Of the shipped forms of all these data sets: the raw train file has 4,000 images.
MINI_SPLITS = Splits(train=3_000, eval_train=1_000, validation=1_000, test=1_000)
_OVERHEAD_BYTES = 4096  # headers and the manifest


@dataclass(frozen=True)
class Official:
    """Facts of the official data set. The classes are counted from label 0 on."""

    image_bytes: int
    train_per_class: tuple[int, ...]
    test_per_class: tuple[int, ...]

    def per_class(self, file: RawFile) -> tuple[int, ...]:
        """Number of images of each class in one file."""
        return self.train_per_class if file == "train" else self.test_per_class

    def count(self, file: RawFile) -> int:
        """Number of images in one file."""
        return sum(self.per_class(file))

    @property
    def splits(self) -> Splits:
        """All training images, with the test images as validation split too."""
        test = self.count("test")
        return Splits(self.count("train"), eval_train=test, validation=test, test=test)

    @property
    def full_size_bytes(self) -> int:
        """Size of the whole data set in its prepared form, at most."""
        return self.size_bytes(self.count("train") + self.count("test"))

    def size_bytes(self, count: int) -> int:
        """Size of so many images and labels in their prepared form, at most."""
        return count * (self.image_bytes + 1) + _OVERHEAD_BYTES


class RawImages(Protocol):
    """The raw files of a data set."""

    @property
    def official(self) -> Official:
        """Facts of the official data set."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """Names of the raw files and their sizes in bytes."""
        ...

    def shown(self, file: RawFile) -> Path:
        """The path that messages name."""
        ...

    def count(self, file: RawFile) -> int:
        """Number of images, found without reading all of them where that is possible."""
        ...

    def read(self, file: RawFile) -> LabelledImages:
        """All images and labels in the order of the raw files; `BadData` if damaged."""
        ...


@dataclass(frozen=True)
class Preparer:
    """`space_needed` and `prepare` of a data set of two files of labelled images."""

    official: Official
    files_in: Callable[[Path], RawImages]

    def space_needed(self, raw: Path | None, subset: int | None = None) -> int:
        """Bytes of the prepared data, at most; those of the official data without `raw`."""
        if raw is None:
            return self.official.full_size_bytes
        files = self.files_in(raw)
        count = files.count("train") + files.count("test")
        if subset is not None:
            count = min(count, 3 * subset)
        return self.official.size_bytes(count)

    def prepare(
        self,
        raw: Path,
        preparation: Preparation,
        *,
        splits: Splits,
        subset: int | None = None,
        progress: Progress = no_progress,
    ) -> None:
        """Writes images and labels of each split as `.npy` files.

        The train file's first `splits.train` images are train, those after them validation.
        Where the definition trains on what would be validation, as protocols without a
        validation split do, validation is the test file.
        """
        _prepare(self.files_in(raw), preparation, splits, subset, progress)


def _prepare(
    raw: RawImages,
    preparation: Preparation,
    splits: Splits,
    subset: int | None,
    progress: Progress,
) -> None:
    preparation.identify(
        raw_bytes=dict(raw.sizes()), train=splits.train, validation=splits.validation
    )
    is_shared = _validation_is_test(raw, splits)
    counts: dict[str, int] = {
        split: min(splits.size(split), subset or splits.size(split)) for split in SPLITS
    }
    first = {"train": 0, "validation": splits.train, "test": 0}
    of_train: tuple[Split, ...] = ("train",) if is_shared else ("train", "validation")
    files: dict[RawFile, tuple[Split, ...]] = {"train": of_train, "test": ("test",)}
    for file, stored in files.items():
        names = [part_name(split, kind) for split in stored for kind in KINDS]
        if all(map(preparation.has, names)):
            continue
        pair = raw.read(file)
        _check_classes(raw, file, pair.labels)
        for split in stored:
            chosen = slice(first[split], first[split] + counts[split])
            part = LabelledImages(pair.images[chosen], pair.labels[chosen])
            _write_split(preparation, split, part)
            progress(f"preparing {split}", counts[split], counts[split])
    preparation.finish(counts, facts={VALIDATION_IS_TEST: True} if is_shared else {})


def _validation_is_test(raw: RawImages, splits: Splits) -> bool:
    """Checks the numbers of raw images; whether validation is the test file."""
    num_train, num_test = raw.count("train"), raw.count("test")
    needed = splits.train + splits.validation
    is_shared = splits.validation == splits.test and (
        needed > raw.official.count("train") or needed > num_train >= splits.train
    )
    used: dict[RawFile, int] = {
        "train": splits.train if is_shared else splits.train + splits.validation,
        "test": splits.test,
    }
    counts: dict[RawFile, int] = {"train": num_train, "test": num_test}
    for file, found in counts.items():
        # A protocol may leave official training images out.
        is_official = file == "train" and found == raw.official.count("train")
        if found != used[file] and not (is_official and found > used[file]):
            raise BadData(
                f"{raw.shown(file)} has {found:,} images; {used[file]:,} are expected. "
                "Get the official files; the small shipped data serve the _mini workloads "
                "only."
            )
    return is_shared


def _check_classes(raw: RawImages, file: RawFile, labels: np.ndarray) -> None:
    """`BadData` where the official number of images has other numbers of each class."""
    expected = raw.official.per_class(file)
    if len(labels) != sum(expected):
        return
    found = np.bincount(labels, minlength=len(expected))
    wrong = np.flatnonzero(found != expected)
    if len(wrong):
        label = int(wrong[0])
        raise BadData(
            f"{raw.shown(file)} has {found[label]:,} images of class {label}; "
            f"{expected[label]:,} are expected. It is not the official file, or damaged: "
            "get it again."
        )


def _write_split(preparation: Preparation, split: Split, part: LabelledImages) -> None:
    for kind, array in (("images", part.images), ("labels", part.labels)):
        name = part_name(split, kind)
        if not preparation.has(name):
            with preparation.part(name) as path:
                np.save(path, array)
