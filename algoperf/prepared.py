"""The folder of prepared data that every data set uses: its writer and its reader.

A folder holds parts (files of the data set's own format) and, once everything is there,
a `manifest.json` that names them with sizes and checksums, and counts the examples of
each split. Until then finished parts stand in a journal, so that a preparation that was
killed goes on with the next part. What is in a part is the business of
`datasets/<name>/`.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.definition import Splits
from algoperf.download import (
    Progress,
    check_space,
    checksum,
    disk_full_is_bad_data,
    no_progress,
)
from algoperf.errors import BadData, near
from algoperf.journal import Journal

MANIFEST = "manifest.json"
_JOURNAL = ".journal.jsonl"
_TEMPORARY = ".partial"  # folder of parts that are being written
_MANIFEST_VERSION = 1
_PREPARED_SPLITS = ("train", "validation", "test")  # eval_train is drawn from train


@dataclass(frozen=True)
class PartFile:
    """What the manifest says of one file."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What stands in `manifest.json`."""

    dataset: str
    format_version: int
    subset: int | None  # at most so many examples of each split; None: all
    source: Mapping[str, Any]  # what the parts were made of
    counts: Mapping[str, int]  # examples by split
    facts: Mapping[str, Any]  # whatever the data set's reader needs to know
    files: Mapping[str, PartFile]

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        content = {"manifest_version": _MANIFEST_VERSION, **dataclasses.asdict(self)}
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """The manifest at `path`; `BadData` if it is damaged or of another version."""
        try:
            content = json.loads(path.read_text("utf-8"))
            version = content.pop("manifest_version")
            if version == _MANIFEST_VERSION:
                files = {k: PartFile(**v) for k, v in content.pop("files").items()}
                manifest = cls(files=files, **content)
                manifest._check_types()
                return manifest
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadData(
                f"{path} is damaged ({error}). Delete the folder and prepare it again."
            ) from error
        raise BadData(
            f"{path} has manifest version {version}; this version of algoperf reads "
            f"{_MANIFEST_VERSION}. Delete the folder and prepare it again."
        )

    def _check_types(self) -> None:
        """Raises `TypeError` where a value is none that `to_json` writes."""
        counts, facts, source = self.counts, self.facts, self.source
        is_good = (
            isinstance(self.dataset, str)
            and all(isinstance(value, dict) for value in (counts, facts, source))
            and all(map(_is_count, (self.format_version, *counts.values())))
            and (self.subset is None or _is_count(self.subset))
            and all(_is_count(part.size_bytes) for part in self.files.values())
            and all(isinstance(part.sha256, str) for part in self.files.values())
        )
        if not is_good:
            raise TypeError("a value has the wrong type")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


class Preparation:
    """Writes a folder of prepared data part by part; goes on after a kill.

    Parts may be written from several threads. The folder is locked against a second
    preparation until `finish` or `close`.
    """

    def __init__(
        self,
        destination: Path,
        *,
        dataset: str,
        format_version: int,
        subset: int | None = None,
    ) -> None:
        if subset is not None and subset < 1:
            raise BadData(
                f"--subset {subset} is no number of examples; give 1 or more."
            )
        self.destination = destination
        self.subset = subset
        self._header: dict[str, Any] = {
            "dataset": dataset,
            "format_version": format_version,
            "subset": subset,
        }
        self._source: dict[str, Any] | None = None
        self._files: dict[str, PartFile] = {}
        self._mutex = threading.Lock()
        _make_folder(destination)
        self._journal = Journal(destination / _JOURNAL)
        try:
            self._resume()
        except BaseException:
            self.close()
            raise

    def _resume(self) -> None:
        """Learns what is finished, from the manifest or else the journal."""
        shutil.rmtree(self.destination / _TEMPORARY, ignore_errors=True)
        if (self.destination / MANIFEST).exists():
            manifest = Manifest.read(self.destination / MANIFEST)
            self._check_header({name: getattr(manifest, name) for name in self._header})
            self._source, self._files = dict(manifest.source), dict(manifest.files)
            return
        for entry in self._journal.entries:
            if "dataset" in entry:
                self._check_header(entry)
            elif "source" in entry:
                self._source = entry["source"]
            else:
                self._files[entry["name"]] = PartFile(
                    entry["size_bytes"], entry["sha256"]
                )
        if not self._journal.entries:
            self._journal.append(self._header)

    def _check_header(self, found: Mapping[str, Any]) -> None:
        if found != self._header:
            raise BadData(
                f"{self.destination} holds other data: {_said(found)}, not "
                f"{_said(self._header)}. Delete the folder, or choose another one."
            )

    @property
    def is_finished(self) -> bool:
        """Whether the folder is complete: manifest, and every file in full size."""
        return (self.destination / MANIFEST).exists() and all(
            map(self.has, self._files)
        )

    def check_space(self, needed_bytes: int) -> str:
        """Says what is needed and free, less the parts that are there already.

        Raises `BadData` where the disk is too small.
        """
        done = sum(
            self._files[name].size_bytes for name in self._files if self.has(name)
        )
        needed = max(0, needed_bytes - done)
        return check_space(
            self.destination, needed, f"Preparing {self._header['dataset']}"
        )

    def identify(self, **source: Any) -> None:
        """Names what the parts are made of (JSON values): raw files, settings.

        A resumed preparation with another source is refused: its parts would not fit
        those that are finished. Call it before the first part.
        """
        given = json.loads(json.dumps(source))
        if self._source is None:
            self._source = given
            self._journal.append({"source": given})
        elif self._source != given:
            names = sorted({*given, *self._source})
            other = [n for n in names if given.get(n) != self._source.get(n)]
            raise BadData(
                f"{self.destination} was begun with other input (different: "
                f"{', '.join(other)}). Use the same raw files and options as "
                "then, or delete the folder and begin again."
            )

    def has(self, name: str) -> bool:
        """Whether the part is finished: in the journal, and on disk in full size."""
        part = self._files.get(name)
        return part is not None and _size(self.destination / name) == part.size_bytes

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Path]:
        """A temporary path for the file `name` (may have folders); kept on success.

        After the body the file is flushed to disk, hashed, renamed and entered in the
        journal. After an error nothing of it is left; a full disk is a `BadData`.
        """
        temporary = self.destination / _TEMPORARY / name
        final = self.destination / name
        with disk_full_is_bad_data(self.destination):
            temporary.parent.mkdir(parents=True, exist_ok=True)
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                yield temporary
                _flush_to_disk(temporary)
                part = PartFile(temporary.stat().st_size, checksum(temporary))
                with self._mutex:
                    self._reopen()
                    temporary.replace(final)
                    _flush_to_disk(final.parent)
                    self._files[name] = part
                    self._journal.append({"name": name, **dataclasses.asdict(part)})
            finally:
                temporary.unlink(missing_ok=True)

    def _reopen(self) -> None:
        """Turns a finished folder with damaged parts back into an unfinished one."""
        manifest = self.destination / MANIFEST
        if not manifest.exists():
            return
        parts = [
            {"name": name, **dataclasses.asdict(part)}
            for name, part in self._files.items()
        ]
        self._journal.rewrite([self._header, {"source": self._source}, *parts])
        manifest.unlink()

    def finish(self, counts: Mapping[str, int], facts: Mapping[str, Any]) -> None:
        """Writes the manifest: from here on the folder can be read.

        counts: number of examples by split (train, validation, test). facts: JSON
        values.
        """
        manifest = Manifest(
            **self._header,
            source=self._source or {},
            counts=dict(counts),
            facts=dict(facts),
            files=dict(sorted(self._files.items())),
        )
        missing = [name for name in self._files if not self.has(name)]
        if missing:
            raise BadData(
                f"{self.destination / missing[0]} has vanished or changed during the "
                "preparation. Run the same command again."
            )
        temporary = self.destination / _TEMPORARY / MANIFEST
        with disk_full_is_bad_data(self.destination):
            temporary.parent.mkdir(exist_ok=True)
            temporary.write_text(manifest.to_json(), "utf-8")
            _flush_to_disk(temporary)
        temporary.replace(self.destination / MANIFEST)
        _flush_to_disk(self.destination)
        shutil.rmtree(self.destination / _TEMPORARY)
        self.close()

    def close(self) -> None:
        """Gives the folder free; what is finished stays for the next run."""
        self._journal.close(remove=(self.destination / MANIFEST).exists())

    def __enter__(self) -> "Preparation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PreparedData:
    """A finished folder of prepared data. Opened with `PreparedData.open`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        dataset: str,
        format_version: int | None = None,
        splits: Splits | None = None,
        allow_partial: bool = False,
        verify: bool = False,
    ) -> "PreparedData":
        """The prepared data in `folder`, checked; `BadData` with the remedy if bad.

        splits: the definition's; the copy must have exactly these numbers of examples.
        A partial copy (`--subset`) is refused unless allowed, or unless `splits` are
        its own numbers (see `splits_like`): then the caller knows. verify: also
        compares checksums.
        """
        remedy = f"Run `algoperf prepare {folder.name}`."
        if not folder.is_dir():
            raise BadData(f"{dataset} is not prepared: no folder {folder}. {remedy}")
        if not (folder / MANIFEST).is_file():
            raise BadData(
                f"{folder} has no {MANIFEST}: its preparation was not finished, or it "
                f"is not prepared data. {remedy} It goes on where it stopped."
            )
        data = cls(folder, Manifest.read(folder / MANIFEST))
        data._check_format(dataset, format_version)
        data._check_counts(splits, allow_partial)
        data._check_sizes()
        if verify:
            data.verify()
        return data

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of examples by split."""
        return self.manifest.counts

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the preparation noted for the reader."""
        return self.manifest.facts

    @property
    def is_partial(self) -> bool:
        """Whether this is a copy made with `--subset`."""
        return self.manifest.subset is not None

    def path(self, name: str) -> Path:
        """The file `name` of the data."""
        if name not in self.manifest.files:
            raise BadData(
                f"{self.folder} has no part {name!r}."
                f"{near(name, self.manifest.files)} Delete the folder and prepare it "
                "again."
            )
        return self.folder / name

    def splits_like(self, splits: Splits) -> Splits:
        """`splits` with this copy's numbers, for runs that accept a partial copy."""
        train = self.counts["train"]
        return Splits(
            train=train,
            eval_train=min(splits.eval_train, train),
            validation=self.counts["validation"],
            test=self.counts["test"],
        )

    def verify(self, progress: Progress = no_progress) -> None:
        """Compares the checksum of every file; `BadData` names the first bad one."""
        for name, part in self.manifest.files.items():
            if checksum(self.folder / name, progress=progress) != part.sha256:
                raise BadData(
                    f"{self.folder / name} is damaged: its checksum is not the one it "
                    "was written with. Delete that file and run `algoperf prepare "
                    f"{self.folder.name}` again; it writes this part anew."
                )

    def _check_format(self, dataset: str, format_version: int | None) -> None:
        found = self.manifest
        if found.dataset != dataset:
            raise BadData(
                f"{self.folder} holds data set {found.dataset!r}, not {dataset!r}. "
                "Check the data directory."
            )
        if format_version not in (None, found.format_version):
            raise BadData(
                f"{self.folder} has format version {found.format_version} of "
                f"{dataset}; this version of algoperf reads {format_version}. Delete "
                f"the folder and run `algoperf prepare {self.folder.name}`."
            )

    def _check_counts(self, splits: Splits | None, allow_partial: bool) -> None:
        expected = dataclasses.asdict(splits) if splits else dict(self.counts)
        fits = all(self.counts.get(s) == expected.get(s) for s in _PREPARED_SPLITS)
        if self.is_partial and not allow_partial and not (splits and fits):
            raise BadData(
                f"{self.folder} is a partial copy (--subset {self.manifest.subset}), "
                "which a scored run may not use. Delete the folder and prepare it "
                "without --subset."
            )
        if not self.is_partial and not fits:
            numbers = {split: expected.get(split) for split in _PREPARED_SPLITS}
            raise BadData(
                f"{self.folder} has {_said(self.counts)} examples; the workload needs "
                f"{_said(numbers)}. The raw data were not the expected ones: delete "
                "the folder and prepare it from the right files."
            )

    def _check_sizes(self) -> None:
        for name, part in self.manifest.files.items():
            found = _size(self.folder / name)
            if found != part.size_bytes:
                state = "is missing" if found is None else f"has {found:,} bytes"
                raise BadData(
                    f"{self.folder / name} {state}; {part.size_bytes:,} bytes are "
                    f"expected. Run `algoperf prepare {self.folder.name}` again; "
                    "it writes this part anew."
                )


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadData(f"Cannot make the folder {path}: {error.strerror}.") from error


def _flush_to_disk(path: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
