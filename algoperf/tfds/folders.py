"""The folders of tensorflow-datasets: `<root>/<name>[/<config>]/<version>/`."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import input_files, paths
from algoperf.errors import BadData
from algoperf.tfds.examples import Example
from algoperf.tfds.records import FORMATS, check_packages, stream

INFO = "dataset_info.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_AGAIN = "Delete that folder and let tensorflow-datasets prepare it again."
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def default_root() -> Path:
    """Where tensorflow-datasets keeps what it prepares, unless it is told otherwise."""
    return paths.expanded(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))


@dataclass(frozen=True)
class TfdsFolder:
    """One data set in one version. Found with `TfdsFolder.find`."""

    path: Path
    name: str
    version: str
    file_format: str
    shard_lengths: Mapping[str, Sequence[int]]  # examples of each file, by split

    @classmethod
    def find(cls, root: Path, name: str) -> "TfdsFolder | None":
        """The newest version of `name` (such as `wmt17_translate/de-en`) below `root`.

        None if there is none; `BadData` for one that is damaged or of another format.
        """
        folder = root / name
        if not input_files.is_folder(folder):
            return None
        versions = [
            entry.path
            for entry in input_files.entries(folder)
            if entry.is_folder
            and _VERSION.fullmatch(entry.path.name)
            and input_files.is_file(entry.path / INFO)
        ]
        if not versions:
            return None
        newest = max(versions, key=lambda path: tuple(map(int, path.name.split("."))))
        return cls._open(newest, name.partition("/")[0])

    @classmethod
    def _open(cls, path: Path, name: str) -> "TfdsFolder":
        info = _read_info(path / INFO)
        try:
            lengths = {
                str(split["name"]): [int(n) for n in split.get("shardLengths", ())]
                for split in info["splits"]
            }
            file_format = str(info.get("fileFormat", FORMATS[0]))
            templates = {s.get("filepathTemplate", _TEMPLATE) for s in info["splits"]}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadData(f"{path / INFO} is damaged ({error!r}). {_AGAIN}") from error
        if file_format not in FORMATS or templates != {_TEMPLATE}:
            raise BadData(
                f"{path} was written in the format {file_format!r}; {' and '.join(FORMATS)} "
                "are read. Let tensorflow-datasets prepare it with "
                f"file_format={FORMATS[1]!r}."
            )
        return cls(path, name, path.name, file_format, lengths)

    def check_packages(self) -> None:
        """`MissingDependency` unless its files can be read."""
        check_packages(self.file_format)

    def count(self, split: str) -> int:
        """Number of examples of a split."""
        return sum(self._lengths(split))

    def size_bytes(self, split: str) -> int:
        """Size of a split's files."""
        return sum(input_files.size_bytes(path) for path in self.files(split))

    def sizes(self, *splits: str) -> dict[str, int]:
        """Names and sizes of the files of these splits."""
        return {
            path.name: input_files.size_bytes(path)
            for split in splits
            for path in self.files(split)
        }

    def files(self, split: str) -> list[Path]:
        """The files of a split in their order; `BadData` names one that is missing."""
        total = len(self._lengths(split))
        names = [
            f"{self.name}-{split}.{self.file_format}-{number:05d}-of-{total:05d}"
            for number in range(total)
        ]
        for name in names:
            if not input_files.is_file(self.path / name):
                raise BadData(
                    f"{self.path} has no file {name}: it was not copied as a whole. "
                    "Copy it again, or let tensorflow-datasets prepare it again."
                )
        return [self.path / name for name in names]

    def examples(self, split: str) -> Iterator[Example]:
        """The examples of a split in the stored order, counted."""
        self.check_packages()
        files, lengths = self.files(split), self._lengths(split)
        for path, expected in zip(files, lengths, strict=True):
            number = 0
            for number, record in enumerate(stream(path, self.file_format), 1):
                if number <= expected:
                    yield Example(*record)
            if number != expected:
                raise BadData(
                    f"{path} has {number:,} records; {expected:,} are expected "
                    f"({INFO} says so). {_AGAIN}"
                )

    def class_names(self, feature: str = "label") -> list[str]:
        """The names of the classes that a feature numbers."""
        path = self.path / f"{feature}.labels.txt"
        with input_files.opened(path, _AGAIN) as file:
            return file.read().decode("utf-8", "replace").split()

    def _lengths(self, split: str) -> Sequence[int]:
        lengths = self.shard_lengths.get(split)
        if not lengths:
            known = ", ".join(self.shard_lengths) or "none"
            raise BadData(
                f"{self.path} has no split {split!r}; it has {known}. {_AGAIN}"
            )
        return lengths


def _read_info(path: Path) -> dict[str, Any]:
    with input_files.opened(path, _AGAIN) as file:
        content = file.read()
    try:
        info = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadData(f"{path} is damaged ({error}). {_AGAIN}") from error
    if not isinstance(info, dict):
        raise BadData(f"{path} is damaged: it holds no table. {_AGAIN}")
    return info
