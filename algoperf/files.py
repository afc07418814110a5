"""Files as they are met: only regular ones are read, and a written one appears as a whole."""

import contextlib
import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf.errors import BadLogs
from algoperf.paths import shown

_LARGEST = 2**28  # bytes; the longest published logs have 1 MB
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_FOR_LOGS = "free some space or choose another folder, then go on with --resume."
_FOR_OUTPUT = "give another path, or free some space."


def read_regular(path: str | Path) -> bytes:
    """The content of a file, or of the file that a link leads to.

    BadLogs says why it cannot be read. Anything but a regular file is refused: a named
    pipe would wait for a writer, and a device may never end.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BadLogs(f"{shown(path)} is {_kind(status)}, not a regular file.")
        if status.st_size > _LARGEST:
            raise BadLogs(
                f"{shown(path)} has {status.st_size:,} bytes; at most {_LARGEST:,} are read. Is "
                "it the right file?"
            )
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise BadLogs(f"{shown(path)} cannot be read: {error.strerror}.") from None


def _kind(status: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(status.st_mode), "something else")


def write_atomically(
    path: Path, content: str | bytes, *, remedy: str = _FOR_LOGS
) -> None:
    """Replaces `path` as a whole: a reader sees the old content or the new."""
    data = content.encode() if isinstance(content, str) else content
    # A file has one writer, so a fixed name will do: a killed write leaves no heap behind.
    temporary = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise BadLogs(
            f"Could not write {shown(path)}: {error.strerror}. What was there before is intact; "
            f"{remedy}"
        ) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON atomically; NaN and infinities are kept as strings."""
    text = json.dumps(_strict(value), indent=2, default=str, allow_nan=False)
    write_atomically(path, text + "\n")


def _strict(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value


def write_output(path: Path, content: str | bytes) -> None:
    """Writes a file that somebody asked for; a link is followed, a device is refused.

    A name that is no text is written with backslashes.
    """
    data = (
        content.encode(errors="backslashreplace")
        if isinstance(content, str)
        else content
    )
    target = Path(os.path.realpath(path))
    check_output(path)
    write_atomically(target, data, remedy=_FOR_OUTPUT)


def check_output(path: Path) -> None:
    """BadLogs where `path` can never become a file: to be asked before a long computation."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadLogs(
            f"Could not write {shown(path)}: {error.strerror}. Give another path."
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise BadLogs(
            f"Could not write {shown(path)}: it is {_kind(status)}. Give the path of a "
            "file, or - for standard output."
        )
