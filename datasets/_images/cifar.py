"""CIFAR-10's and CIFAR-100's official files: packed or unpacked, binary or pickled.

A record of the binary files is the label bytes (CIFAR-100: coarse, then fine), then 32x32
values of red, of green and of blue. The pickled files hold the same bytes.
"""

import io
import pickle
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from algoperf import input_files
from algoperf.errors import BadData

from .stored import LabelledImages
from .writing import Official, RawFile

SIDE = 32  # pixels
IMAGE_BYTES = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Layout:
    """How one of the two data sets is packed. Archives and folders: binary, pickled."""

    archives: tuple[str, str]
    folders: tuple[str, str]
    files: Mapping[RawFile, Sequence[str]]  # in their order, without suffix
    label_bytes: int  # of a record; the last one is the label
    labels_key: bytes  # of the pickled files
    num_classes: int


@dataclass(frozen=True)
class CifarFiles:
    """The archive, the folder that it unpacks to, or the files themselves."""

    folder: Path
    official: Official
    layout: Layout
    raw_help: str

    def sizes(self) -> dict[str, int]:
        """Name and size of the archive, or names and sizes of the unpacked files."""
        place, _ = self._find()
        if not place.is_dir():
            return {place.name: place.stat().st_size}
        return {path.name: path.stat().st_size for path in self._unpacked(place)}

    def shown(self, file: RawFile) -> Path:
        """The path that messages name."""
        place, is_binary = self._find()
        name = self.layout.files[file][0]
        return place / (f"{name}.bin" if is_binary else name)

    def count(self, file: RawFile) -> int:
        """Number of images; reads a packed archive."""
        place, is_binary = self._find()
        if place.is_dir() and is_binary:
            names = {f"{name}.bin" for name in self.layout.files[file]}
            paths = [path for path in self._unpacked(place) if path.name in names]
            return sum(self._num_records(p, p.stat().st_size) for p in paths)
        return len(self.read(file).labels)

    def read(self, file: RawFile) -> LabelledImages:
        """Images uint8 [n, 32, 32, 3] and labels uint8 [n]."""
        place, is_binary = self._find()
        parse = self._from_binary if is_binary else self._from_pickle
        parts = []
        for name, content in self._contents(place, file, is_binary):
            labels, pixels = parse(place / name, content)
            self._check_labels(place / name, labels)
            parts.append((labels, pixels.reshape(-1, 3, SIDE, SIDE)))
        images = np.concatenate([pixels for _, pixels in parts]).transpose(0, 2, 3, 1)
        return LabelledImages(
            np.ascontiguousarray(images),
            np.concatenate([labels for labels, _ in parts]),
        )

    def _find(self) -> tuple[Path, bool]:
        """The archive or the folder with the files; whether they are binary ones."""
        input_files.check_raw_folder(self.folder, self.raw_help)
        first = self.layout.files["test"][0]
        for number, suffix in enumerate((".bin", "")):
            archive, is_binary = self.layout.archives[number], suffix == ".bin"
            folder = self.folder / self.layout.folders[number]
            if input_files.is_folder(folder):
                return folder, is_binary
            if input_files.is_file(self.folder / f"{first}{suffix}"):
                return self.folder, is_binary
            for name in (archive, archive.removesuffix(".gz")):
                if input_files.is_file(self.folder / name):
                    return self.folder / name, is_binary
        raise input_files.not_found(
            self.folder,
            f"no file {self.layout.archives[0]}",
            self.raw_help,
            name=self.layout.archives[0],
        )

    def _unpacked(self, place: Path) -> list[Path]:
        """The paths of all unpacked files."""
        suffix = ".bin" if self._find()[1] else ""
        paths = [
            place / f"{name}{suffix}"
            for names in self.layout.files.values()
            for name in names
        ]
        for path in paths:
            if not input_files.is_file(path):
                raise input_files.not_found(
                    place, f"no file {path.name}", self.raw_help, name=path.name
                )
        return paths

    def _contents(
        self, place: Path, file: RawFile, is_binary: bool
    ) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of the files that make up one split, in their order."""
        suffix = ".bin" if is_binary else ""
        names = [f"{name}{suffix}" for name in self.layout.files[file]]
        if place.is_dir():
            self._unpacked(place)
            for name in names:
                with input_files.opened(place / name) as opened:
                    yield name, opened.read(self._max_bytes)
            return
        found = self._packed(place, names)
        for name in names:
            if name not in found:
                raise BadData(f"{place} has no file {name}. {input_files.GET_AGAIN}")
            yield name, found[name]

    def _packed(self, archive: Path, names: Sequence[str]) -> dict[str, bytes]:
        found = {}
        with (
            input_files.opened_archive(archive) as file,
            tarfile.open(fileobj=file, mode="r:*") as tar,
        ):
            for member in tar:
                name = PurePosixPath(member.name).name
                if name in names and member.isreg():
                    content = tar.extractfile(member)
                    assert content is not None  # it is a regular file
                    found[name] = content.read(self._max_bytes)
        return found

    @property
    def _max_bytes(self) -> int:
        """More than any of the files has; damage must not fill the memory."""
        return 2 * self.official.count("train") * (IMAGE_BYTES + 100)

    def _num_records(self, shown: Path, size_bytes: int) -> int:
        record = self.layout.label_bytes + IMAGE_BYTES
        if size_bytes % record:
            raise BadData(
                f"{shown} is cut off: it has {size_bytes:,} bytes, which is no multiple of "
                f"the {record:,} of an image. {input_files.GET_AGAIN}"
            )
        return size_bytes // record

    def _from_binary(
        self, shown: Path, content: bytes
    ) -> tuple[np.ndarray, np.ndarray]:
        self._num_records(shown, len(content))  # checks the size
        records = np.frombuffer(content, np.uint8)
        records = records.reshape(-1, self.layout.label_bytes + IMAGE_BYTES)
        return records[:, self.layout.label_bytes - 1], records[:, -IMAGE_BYTES:]

    def _from_pickle(
        self, shown: Path, content: bytes
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            batch = _ArraysUnpickler(io.BytesIO(content), encoding="bytes").load()
            by_key = {_as_bytes(key): value for key, value in batch.items()}
            pixels = by_key[b"data"]
            labels = np.array(by_key[self.layout.labels_key], np.int64)
        except Exception as error:  # pickle raises anything for damaged files
            raise BadData(
                f"{shown} is damaged or no pickled batch of this data set "
                f"({input_files.in_one_line(error)}). {input_files.GET_AGAIN}"
            ) from error
        shape = (len(labels), IMAGE_BYTES)
        is_good = isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8
        if not is_good or pixels.shape != shape or labels.ndim != 1:
            raise BadData(
                f"{shown} does not hold {len(labels):,} images of {IMAGE_BYTES:,} bytes, "
                f"one for each label. {input_files.GET_AGAIN}"
            )
        self._check_labels(shown, labels)
        return labels.astype(np.uint8), pixels

    def _check_labels(self, shown: Path, labels: np.ndarray) -> None:
        last = self.layout.num_classes - 1
        wrong = np.flatnonzero((labels < 0) | (labels > last))
        if len(wrong):
            raise BadData(
                f"{shown}: label {wrong[0]:,} is {labels[wrong[0]]}; labels are 0 to "
                f"{last}. {input_files.GET_AGAIN}"
            )


def _as_bytes(key: Any) -> Any:
    return key.encode() if isinstance(key, str) else key


class _ArraysUnpickler(pickle.Unpickler):
    """Loads numpy arrays and plain values only: a pickle could run any code."""

    def find_class(self, module: str, name: str) -> Any:
        """The few names that arrays need."""
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        arrays = ("numpy.core.multiarray", "numpy._core.multiarray")
        if module in arrays and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if (module, name) == ("_codecs", "encode"):  # bytes, as Python 3 pickles them
            return _encoded
        raise pickle.UnpicklingError(f"it would run {module}.{name}")


def _encoded(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


def write_binary(
    folder: Path, names: Sequence[str], part: LabelledImages, coarse: np.ndarray | None
) -> None:
    """Writes images as binary files. coarse: CIFAR-100's first label of each, uint8 [n]."""
    folder.mkdir(parents=True, exist_ok=True)
    planes = part.images.transpose(0, 3, 1, 2).reshape(-1, IMAGE_BYTES)
    columns = [part.labels[:, np.newaxis], planes]
    if coarse is not None:
        columns.insert(0, coarse[:, np.newaxis])
    records = np.concatenate(columns, axis=1)
    for name, share in zip(names, np.array_split(records, len(names)), strict=True):
        (folder / f"{name}.bin").write_bytes(share.tobytes())
