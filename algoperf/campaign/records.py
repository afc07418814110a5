"""What is kept of attempts at trials: one file of lines for each trial, and one lock.

They lie in a hidden folder of the logs, which scoring passes over. An attempt holds the lock of its
trial, so that no trial runs twice at the same time on any of the machines that see the folder.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from algoperf.errors import BadLogs
from algoperf.log_folders import CAMPAIGN_FOLDER, TrialId
from algoperf.runner.supervision.folder_lock import locked

BEGAN, ENDED, RETRIED = "began", "ended", "retried"


class Records:
    """The records of one trial of a campaign."""

    def __init__(self, folder: Path, identity: TrialId) -> None:
        """folder: the campaign's."""
        self._base = str(identity.folder(folder / CAMPAIGN_FOLDER / "trials"))

    @property
    def path(self) -> Path:
        """The file of lines."""
        return Path(f"{self._base}.jsonl")

    @property
    def output_path(self) -> Path:
        """What the processes of its attempts have printed."""
        return Path(f"{self._base}.log")

    def read(self) -> list[dict[str, Any]]:
        """All lines; one that was cut off by a kill is passed over."""
        try:
            with open(f"{self._base}.jsonl", "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise BadLogs(f"{self.path} cannot be read: {error.strerror}.") from None
        found = []
        for line in data.splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                found += [entry] if isinstance(entry, dict) else []
        return found

    def append(self, event: str, **facts: Any) -> None:
        """Adds a line; returns when it is on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line: Mapping[str, Any] = {"event": event, "at": round(time.time(), 3), **facts}
        with open(self.path, "ab") as file:
            # A line that a kill has cut off must not swallow this one.
            start = b"\n" if _is_cut_off(self.path) else b""
            file.write(start + json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextlib.contextmanager
    def held(self, patience: float = 0.0) -> Iterator[None]:
        """Holds the trial against other attempts; `BadLogs` if one goes on for longer."""
        with locked(Path(self._base), patience):
            yield

    def is_held(self) -> bool:
        """Whether an attempt at the trial is running."""
        try:
            with self.held():
                return False
        except BadLogs:
            return True


def _is_cut_off(path: Path) -> bool:
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
