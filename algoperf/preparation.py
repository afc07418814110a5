"""Writing a folder of prepared data: part by part, resumable, and finished at once."""

import contextlib
import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from algoperf import input_files
from algoperf.download import check_space, checksum, writing_to
from algoperf.errors import BadData
from algoperf.journal import Journal
from algoperf.manifest import (
    MANIFEST,
    OPTIONS,
    Manifest,
    PartFile,
    listed,
    prepare_command,
)

_JOURNAL = ".journal.jsonl"
_TEMPORARY = ".partial"  # folder of parts that are being written


class Preparation:
    """Writes a folder of prepared data part by part; resumes after a kill.

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
        options: Mapping[str, str] | None = None,
    ) -> None:
        """options: further ones of the command, such as {"--from": "tfds:DIR"}.

        They are recorded for messages that name the command.
        """
        if subset is not None and subset < 1:
            raise BadData(
                f"--subset {subset} is no number of examples; give 1 or more."
            )
        self.destination = destination
        self.subset = subset
        self._options = dict(options or {})
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
        if input_files.is_file(self.destination / MANIFEST):
            manifest = Manifest.read(self.destination / MANIFEST)
            self._check_header({name: getattr(manifest, name) for name in self._header})
            self._source, self._files = dict(manifest.source), dict(manifest.files)
            return
        for entry in self._journal.entries:
            try:
                self._learn(entry)
            except (KeyError, TypeError) as error:
                raise BadData(
                    f"{self.destination / _JOURNAL} is damaged ({error!r}). Delete the "
                    f"folder and run {prepare_command(self.destination, self.subset)}."
                ) from error
        if not self._journal.entries:
            self._journal.append(self._header)

    def _learn(self, entry: Mapping[str, Any]) -> None:
        """Takes over one line of the journal."""
        if "dataset" in entry:
            self._check_header(entry)
        elif "source" in entry:
            self._source = dict(entry["source"])
        else:
            part = PartFile(entry["size_bytes"], entry["sha256"])
            self._files[entry["name"]] = part

    def _check_header(self, found: Mapping[str, Any]) -> None:
        if found != self._header:
            raise BadData(
                f"{self.destination} holds other data: {listed(found)}, not "
                f"{listed(self._header)}. Delete the folder, or choose another one."
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
        return (
            part is not None
            and input_files.size_or_none(self.destination / name) == part.size_bytes
        )

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Path]:
        """A temporary path for the file `name` (may have folders); kept on success.

        After the body the file is flushed to disk, hashed, renamed and entered in the
        journal. After an error nothing of it is left; a full disk is a `BadData`.
        """
        temporary = self.destination / _TEMPORARY / name
        final = self.destination / name
        with writing_to(self.destination):
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
        given = {**self._options, **facts.get(OPTIONS, {})}
        manifest = Manifest(
            **self._header,
            source=self._source or {},
            counts=dict(counts),
            facts={**facts, OPTIONS: given} if given else dict(facts),
            files=dict(sorted(self._files.items())),
        )
        missing = [name for name in self._files if not self.has(name)]
        if missing:
            raise BadData(
                f"{self.destination / missing[0]} has vanished or changed during the "
                "preparation. Run the same command again."
            )
        temporary = self.destination / _TEMPORARY / MANIFEST
        with writing_to(self.destination):
            temporary.parent.mkdir(exist_ok=True)
            temporary.write_text(manifest.to_json(), "utf-8")
            _flush_to_disk(temporary)
            temporary.replace(self.destination / MANIFEST)
            _flush_to_disk(self.destination)
        shutil.rmtree(self.destination / _TEMPORARY)
        self.close()

    def close(self) -> None:
        """Releases the folder; finished parts stay for the next run."""
        self._journal.close(remove=(self.destination / MANIFEST).exists())

    def __enter__(self) -> "Preparation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _make_folder(path: Path) -> None:
    input_files.look_up(path)  # names a link to nothing
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
