"""Raw official ImageNet files -> shards of JPEG files.

The names that every data set's `prepare.py` has are explained in `datasets/mnist`.
What is special here: over a hundred gigabytes of images are copied as they are, several
shards at a time; what is no RGB or grey JPEG file is written as one.
"""

import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf.definition import Split, Splits
from algoperf.download import Progress, no_progress, writing_to
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from . import archives, jpeg, photographs, reader, stored
from .archives import RAW_HELP, RawFiles
from .images import AnyImage
from .reader import FORMAT_VERSION, SPLITS

__all__ = [
    "FORMAT_VERSION",
    "PACKAGES",
    "PUBLISHED",
    "RAW_HELP",
    "TFDS",
    "expand_embedded",
    "prepare",
    "space_needed",
]

# Some official images are no JPEG files, and are decoded with Pillow.
PACKAGES = ("PIL",)
TFDS = (stored.ILSVRC2012, stored.V2)
PUBLISHED = ("imagenet/jax", "imagenet/pytorch")

SHARD_BYTES = 1 << 30  # of images; one more image may follow
_FULL_BYTES = 152_000_000_000  # 144 GB, ImageNet-v2 (twice while it is unpacked), spare
_IMAGE_BYTES = 200_000  # of an image of a subset, generously: the mean is 110 kB
_SPARE_BYTES = 10_000_000  # for images that grow when they are written anew


def expand_embedded(raw: Path) -> None:
    """Writes pieces of 19 real photographs in the official layout.

    See embedded/NOTICE for their sources and licences.
    """
    photographs.expand(raw)


def space_needed(raw: Path | None, subset: int | None = None) -> int:
    """Bytes of the prepared data, and of ImageNet-v2's while it is unpacked."""
    if raw is None:
        return _FULL_BYTES
    with contextlib.ExitStack() as stack:
        raw_files = RawFiles(raw, stack)
        raw_files.check_packages()
        # JPEG files do not get smaller by packing.
        sizes = [raw_files.size_bytes(split) for split in SPLITS]
    unpacked = sizes[-1]
    if subset is not None:
        sizes = [min(size, subset * _IMAGE_BYTES) for size in sizes]
    return (sum(sizes) + unpacked) * 105 // 100 + _SPARE_BYTES


def prepare(
    raw: Path,
    preparation: Preparation,
    *,
    splits: Splits,
    subset: int | None = None,
    progress: Progress = no_progress,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes the shards of each split, in threads.

    Images stand in the order of class and name (validation: of names), so that they
    have the same numbers whatever form the raw files had. A subset is drawn evenly from
    that order.
    """
    with contextlib.ExitStack() as stack:
        raw_files = RawFiles(raw, stack, progress)
        raw_files.check_packages()
        with writing_to(preparation.destination):
            found, class_names = _list_images(
                raw_files, preparation.destination, progress
            )
        if subset is None:
            _check_counts(found, splits, raw)
        preparation.identify(
            images={split: _summary(images) for split, images in found.items()},
            shard_bytes=shard_bytes,
        )
        kept = {split: _evenly(images, subset) for split, images in found.items()}
        shards = [
            shard for split in SPLITS for shard in _cut(split, kept[split], shard_bytes)
        ]
        if subset is None:  # a partial copy reads too little to be worth it
            _check_md5(raw_files, found, preparation, shards, progress)
        _Writing(preparation, class_names, shards, progress).run()
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    for shard in shards:
        names[shard.split].append(shard.name)
    preparation.finish(
        {split: len(images) for split, images in kept.items()},
        facts={"classes": list(class_names), "shards": names},
    )


def _list_images(
    raw_files: RawFiles, scratch: Path, progress: Progress
) -> tuple[dict[Split, Sequence[AnyImage]], list[str]]:
    """The images of each split, and the sorted names of the classes."""
    progress("listing images", 0, 3)
    train = raw_files.train()
    progress("listing images", 1, 3)
    validation = raw_files.validation()
    progress("listing images", 2, 3)
    classes = sorted({image.class_name for image in train})
    others = {image.class_name for image in validation}
    for lacking, full, missing in (
        ("training", "validation", others - set(classes)),
        ("validation", "training", set(classes) - others),
    ):
        if missing:
            raise BadData(
                f"Class {min(missing)} has {full} images but no {lacking} images, so the "
                f"numbers of the classes would shift. {len(missing):,} such classes: get "
                "the official files again."
            )
    test = raw_files.test(classes, scratch)
    progress("listing images", 3, 3)
    return {"train": train, "validation": validation, "test": test}, classes


def _check_counts(
    found: dict[Split, Sequence[AnyImage]], splits: Splits, raw: Path
) -> None:
    if all(len(images) == splits.size(split) for split, images in found.items()):
        return
    have = ", ".join(f"{split} {len(images):,}" for split, images in found.items())
    need = ", ".join(f"{split} {splits.size(split):,}" for split in SPLITS)
    raise BadData(
        f"{raw} has {have} images; {need} are expected. Get the official files; the small "
        "shipped data serve the _mini workloads only."
    )


def _check_md5(
    raw_files: RawFiles,
    found: Mapping[Split, Sequence[AnyImage]],
    preparation: Preparation,
    shards: Sequence["_Shard"],
    progress: Progress,
) -> None:
    """Compares the official sums of each split of which nothing is written yet."""
    for split in ("train", "validation"):
        is_official = len(found[split]) == archives.OFFICIAL_COUNTS[split]
        is_begun = any(preparation.has(s.name) for s in shards if s.split == split)
        if is_official and not is_begun:
            raw_files.check_md5(split, progress)


def _summary(images: Sequence[AnyImage]) -> list[int]:
    """What tells one set of raw files from another: number of images, their bytes."""
    return [len(images), sum(image.size for image in images)]


def _evenly(images: Sequence[AnyImage], number: int | None) -> Sequence[AnyImage]:
    if number is None or number >= len(images):
        return images
    return [images[i * len(images) // number] for i in range(number)]


@dataclass(frozen=True)
class _Shard:
    """Images that go into one file."""

    split: Split
    name: str
    images: Sequence[AnyImage]


def _cut(split: Split, images: Sequence[AnyImage], shard_bytes: int) -> list[_Shard]:
    shards: list[_Shard] = []
    first, size = 0, 0
    for end, image in enumerate(images, 1):
        size += image.size
        if size >= shard_bytes or end == len(images):
            name = reader.shard_name(split, len(shards))
            shards.append(_Shard(split, name, images[first:end]))
            first, size = end, 0
    return shards


class _Writing:
    """Writes shards in threads; the first error stops all of them."""

    def __init__(
        self,
        preparation: Preparation,
        class_names: Sequence[str],
        shards: Sequence[_Shard],
        progress: Progress,
    ) -> None:
        self._preparation = preparation
        self._labels = {name: label for label, name in enumerate(class_names)}
        self._shards = shards
        self._total = sum(len(shard.images) for shard in shards)
        self._progress = progress
        self._done = 0
        self._mutex = threading.Lock()
        self._stopped = threading.Event()

    def run(self) -> None:
        """Writes the shards that are not there yet."""
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            futures = [pool.submit(self._write, shard) for shard in self._shards]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            finally:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)

    def _write(self, shard: _Shard) -> None:
        if self._preparation.has(shard.name):
            self._report(len(shard.images))
            return
        with self._preparation.part(shard.name) as path:
            writer = reader.ShardWriter(path)
            try:
                for image in shard.images:
                    writer.append(_read(image), self._labels[image.class_name])
                    self._report(1)
                writer.close()
            except BaseException:
                writer.abandon()
                raise

    def _report(self, num_images: int) -> None:
        if self._stopped.is_set():
            raise concurrent.futures.CancelledError
        with self._mutex:
            self._done += num_images
            self._progress("packing images", self._done, self._total)


def _read(image: AnyImage) -> bytes:
    """The image as an RGB or grey JPEG file."""
    content = image.read()
    if len(content) != image.size:
        raise BadData(f"{image.shown} is cut off. Get the official file again.")
    try:
        return jpeg.as_rgb_jpeg(content)
    except ValueError as error:
        raise BadData(
            f"{image.shown} is damaged: {error}. Get the official file again."
        ) from error
