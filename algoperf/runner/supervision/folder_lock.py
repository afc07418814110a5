"""Keeps two processes from running the same trial at once."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from algoperf.errors import BadLogs

try:
    import fcntl
except ModuleNotFoundError:  # Windows: a second process is not noticed
    fcntl = None  # type: ignore[assignment]

_NAME = ".lock"
# A process whose launcher was killed notices it within a second or two.
_PATIENCE_SECONDS = 10.0


@contextlib.contextmanager
def locked(folder: Path, patience: float = _PATIENCE_SECONDS) -> Iterator[None]:
    """Holds a trial's folder; `BadLogs` if another process keeps it."""
    if fcntl is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _NAME).open("a") as file:
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise BadLogs(
                        f"{folder} is in use by another process that runs this trial: "
                        "wait for it, or end it."
                    ) from None
            time.sleep(0.1)
        yield
