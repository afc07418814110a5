"""A file of what is finished, one JSON object a line, that survives a kill."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from filelock import lock_descriptor

from algoperf import input_files
from algoperf.download import writing_to
from algoperf.errors import BadData


class Journal:
    """Opens or begins the journal at `path`, locked against other processes.

    `entries` are those of earlier runs. A last line that was cut off by a kill is
    dropped, for what it would have said is not finished.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open_locked(path)
        self.entries = self._read()

    def _read(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        entries, end = [], 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if not isinstance(entry, dict):
                break
            entries.append(entry)
            end += len(line)
        self._file.truncate(end)
        return entries

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds an entry; returns when it is on the disk."""
        with writing_to(self._path.parent):
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def rewrite(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Replaces all entries; a kill in between leaves fewer of them."""
        self._file.truncate(0)
        for entry in entries:
            self.append(entry)

    def close(self, *, remove: bool = False) -> None:
        """Releases the lock, and deletes the file if it is no longer needed."""
        if remove and not self._file.closed:
            self._path.unlink(missing_ok=True)
        self._file.close()


def _open_locked(path: Path) -> BinaryIO:
    input_files.look_up(path)  # refuses pipes and devices, which would be waited for
    with writing_to(path.parent):
        file = path.open("a+b")
    if not lock_descriptor(file.fileno(), blocking=False):
        file.close()
        raise BadData(
            f"{path.parent} is being prepared by another process: wait or end it."
        )
    return file
