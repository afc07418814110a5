"""Where a command's results go: standard output or files, with one sentence if they cannot."""

import contextlib
import errno
import os
import sys
from pathlib import Path

from algoperf import files
from algoperf.errors import BadSettings

STDOUT = Path("-")


def say(text: str, *, end: str = "\n") -> None:
    """Prints at once; characters that the terminal lacks are written with backslashes.

    BadSettings where standard output is closed or full; BrokenPipeError where its reader
    has read enough.
    """
    stream = sys.stdout
    # The command line puts the null device in the place of a stream that was closed.
    if stream is None or sys.__stdout__ is None:
        raise BadSettings("Standard output is closed; nothing can be printed.")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write((text + end).encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:  # ValueError: closed
        _drop_the_rest()
        why = getattr(error, "strerror", None) or os.strerror(errno.EBADF)
        raise BadSettings(f"Standard output cannot be written: {why}.") from None


def _drop_the_rest() -> None:
    """Else what is buffered is tried again, with a traceback, when the process ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(path: Path, content: str, what: str, *, more: str = "") -> None:
    """Writes a file and says so, or prints it where `path` is `-`."""
    if path == STDOUT:
        say(content, end="" if content.endswith("\n") else "\n")
        return
    files.write_output(path, content)
    say(f"{what}: {path}{more}")


def check(*paths: Path | None) -> None:
    """BadLogs for a path that can never be written, BadSettings for two that are one.

    To be asked before a long computation.
    """
    given = [path for path in paths if path is not None]
    for path in given:
        if path != STDOUT:
            files.check_output(path)
    real = [os.path.realpath(path) for path in given]
    if len(set(real)) < len(real):
        raise BadSettings(
            f"Two outputs would go to the same place: {', '.join(map(str, given))}. Give "
            "each a path of its own."
        )
