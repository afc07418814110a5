"""Keeps two processes from running the same trial at once."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from filelock import lock_descriptor

from algoperf.errors import BadLogs

# A process whose launcher was killed notices it within a second or two.
PATIENCE_SECONDS = 10.0


def lock_file(folder: Path) -> Path:
    """The file whose lock says that a process works on `folder`."""
    return folder.with_name(f".{folder.name}.lock")


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        raise BadLogs(
            f"{path.parent} cannot be written: {error.strerror}. Choose another "
            "--experiment-dir."
        ) from None


@contextlib.contextmanager
def locked(folder: Path, patience: float | None = None) -> Iterator[None]:
    """Holds a trial's folder; `BadLogs` if another process keeps it.

    The lock's file lies beside the folder, which may be removed while it is held.
    """
    with _opened(lock_file(folder)) as file:
        until = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
        while not lock_descriptor(file.fileno(), blocking=False):
            if time.monotonic() > until:
                raise BadLogs(
                    f"{folder} is in use by another process that runs this trial: "
                    "wait for it, or end it."
                )
            time.sleep(0.1)
        yield


def is_held(folder: Path) -> bool:
    """Whether a process works on a trial's folder, as far as can be told; makes no file."""
    try:
        with lock_file(folder).open() as file:
            return not lock_descriptor(file.fileno(), blocking=False)
    except FileNotFoundError:  # nobody has ever locked it
        return False
    except OSError:  # of another user, or on a disk without locks
        return True
