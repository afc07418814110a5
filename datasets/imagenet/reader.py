"""The prepared ImageNet: JPEG files packed into shards.

A shard is JPEG files one after the other, then an index of them, then the number of its
records and a mark: so a shard that is there is whole, and opening a split reads only the
ends of its shards.
"""

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, materialised
from algoperf.errors import BadData
from algoperf.prepared import PreparedData

DATASET = "imagenet"
FORMAT_VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
RECORD = np.dtype([("offset", "<u8"), ("size", "<u4"), ("label", "<u2")])
_MARK = b"imgshard"
_END = np.dtype([("count", "<u8"), ("mark", "S8")])


def shard_name(split: Split, number: int) -> str:
    """The file of the prepared data that holds one shard of a split."""
    return f"{split}-{number:05d}.shard"


class ShardWriter:
    """Writes one shard."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._records: list[tuple[int, int, int]] = []

    def append(self, content: bytes, label: int) -> None:
        """Adds a JPEG file of class `label`."""
        self._records.append((self._file.tell(), len(content), label))
        self._file.write(content)

    def close(self) -> None:
        """Ends the file; without it, the file is no shard."""
        self._file.write(np.array(self._records, RECORD).tobytes())
        self._file.write(np.array([(len(self._records), _MARK)], _END).tobytes())
        self._file.close()

    def abandon(self) -> None:
        """Closes the file as it is, after an error."""
        self._file.close()


class Images:
    """The JPEG files of a split in their fixed order. Threads may share one.

    labels: int32 [n], the number of the class among `num_classes` sorted names.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        num_classes: int,
        rewrite: Callable[[str], str] = lambda name: "",
    ) -> None:
        """rewrite: what to do about a damaged shard, from its name."""
        indices = [_read_index(path, rewrite(path.name)) for path in paths]
        self._rewrite = rewrite
        counts = [len(index) for index in indices]
        records = np.concatenate(indices) if indices else np.empty(0, RECORD)
        self.num_classes = num_classes
        self.labels = records["label"].astype(np.int32)
        self._paths = paths
        self._offsets = records["offset"]
        self._sizes = records["size"]
        self._shards = np.repeat(np.arange(len(paths)), counts)
        self._files: dict[int, int] = {}  # descriptors by shard, opened when needed
        self._mutex = threading.Lock()
        weakref.finalize(self, _close_all, self._files)

    def __len__(self) -> int:
        return len(self.labels)

    def close(self) -> None:
        """Closes the shards; reading opens them again."""
        with self._mutex:
            _close_all(self._files)

    def damaged(self, index: int, reason: str) -> BadData:
        """The error for an image that cannot be used."""
        path = self._paths[self._shards[index]]
        return BadData(
            f"Image {index:,} in {path} {reason}. {self._rewrite(path.name)}"
        )

    def read(self, index: int) -> bytes:
        """The JPEG file of an image."""
        shard = int(self._shards[index])
        size, offset = int(self._sizes[index]), int(self._offsets[index])
        path = self._paths[shard]
        with input_files.reading(path, self._rewrite(path.name)):
            with self._mutex:
                descriptor = self._files.get(shard)
                if descriptor is None:
                    descriptor = self._files[shard] = os.open(path, os.O_RDONLY)
            return os.pread(descriptor, size, offset)


def _close_all(files: dict[int, int]) -> None:
    while files:
        os.close(files.popitem()[1])


def read_split(data: PreparedData, split: Split) -> Images:
    """The images of a split; `eval_train` is a choice of training images, so it has those."""
    stored = materialised(split)
    paths = [data.path(name) for name in data.parts("shards", stored)]
    images = Images(paths, len(data.fact("classes", list)), data.rewrite)
    outside = len(images) and images.labels.max() >= images.num_classes
    if len(images) != data.counts[stored] or outside:
        what = f"images of {images.num_classes:,} classes"
        raise data.incomplete(stored, what)
    return images


def _read_index(path: Path, remedy: str) -> np.ndarray:
    """The records of a shard: `RECORD` [n]."""
    with input_files.opened(path, remedy) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _END.itemsize))
        end = np.frombuffer(file.read(), _END) if size >= _END.itemsize else None
        if end is not None and end["mark"][0] == _MARK:
            index_bytes = int(end["count"][0]) * RECORD.itemsize
            start = size - _END.itemsize - index_bytes
            if start >= 0:
                file.seek(start)
                return np.frombuffer(file.read(index_bytes), RECORD)
    raise BadData(
        f"{path} is damaged: it does not end like a shard of images. {remedy}"
    )
