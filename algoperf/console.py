"""What the two command lines share: the standard streams, and errors as one sentence."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import TextIO

from algoperf import exit_status
from algoperf.errors import AlgoPerfError
from algoperf.paths import shown

INTERRUPTED = 130  # as shells report SIGINT
_STANDARD_STREAMS = 3
_LINK_LOOP = "Symlink loop"  # of `Path.resolve` before Python 3.13
_WRITING_FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def run(
    program: str, work: Callable[[], int], reword: Callable[[str], str] = str
) -> int:
    """Calls `work`; returns its exit status, or that of the error that it raised.

    Mistakes in what was given and errors of the environment (a full disk, a path that is too
    long, no memory) are one sentence on stderr. Anything else is a fault of the harness and
    keeps its traceback. `reword` has the last word on messages.

    For every command alike: results that a full standard output lost are a failure (status
    1); a reader that closed its end has read enough, and what was closed from the start is
    as if discarded: both leave the status as it is.
    """
    _open_closed_streams()
    ending: SystemExit | None = None
    try:
        status, text = _ended(work)
    except SystemExit as error:  # of argparse, after the help
        ending, status, text = error, exit_status.OK, ""
    lost, why = _ended(_flush_output)
    if not text:
        status, text = status or lost, why
    if text:
        tell(f"{program}: error: {reword(text)}")
    elif status == INTERRUPTED:
        tell(f"{program}: interrupted")
    elif ending is not None:
        raise ending
    return status


def _ended(work: Callable[[], int]) -> tuple[int, str]:
    """The exit status of `work`, and a sentence where an error decided it."""
    try:
        return work(), ""
    except AlgoPerfError as error:
        return exit_status.WRONG_INPUT, str(error)
    except BrokenPipeError:  # `algoperf … | head` has read enough
        _discard(sys.stdout)
        return exit_status.OK, ""
    except OSError as error:
        return _of_system(error)
    except UnicodeError as error:
        return exit_status.WRONG_INPUT, f"a text cannot be encoded ({error})."
    except RecursionError:
        return exit_status.WRONG_INPUT, "the input is nested too deeply."
    except RuntimeError as error:
        if not str(error).startswith(_LINK_LOOP):
            raise
        return exit_status.WRONG_INPUT, f"{error}: links lead in a circle."
    except MemoryError:
        return exit_status.FAILED, "this machine has run out of memory."
    except KeyboardInterrupt:
        return INTERRUPTED, ""


def tell(text: str) -> None:
    """Prints a line on stderr; a stderr that cannot be written to changes nothing."""
    try:
        print(text, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        _discard(sys.stderr)


def _of_system(error: OSError) -> tuple[int, str]:
    """The exit status and the sentence for an error of the operating system."""
    reason = error.strerror or str(error) or type(error).__name__
    name = error.filename
    if name is not None:
        path = os.fsdecode(name) if isinstance(name, str | bytes) else str(name)
        return exit_status.WRONG_INPUT, f"{shown(path)}: {reason}."
    if isinstance(error, FileNotFoundError) and not _has_current_directory():
        text = "the current directory no longer exists. Change to another one."
        return exit_status.WRONG_INPUT, text
    if error.errno in _WRITING_FAILED:
        _discard(sys.stdout)
        reason = f"the output could not be written: {reason}"
    return exit_status.FAILED, f"{reason}."


def _has_current_directory() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _open_closed_streams() -> None:
    """Gives closed standard streams a place, so that no other file gets their numbers.

    Also lets stdout show what its encoding lacks, such as bytes in names of files.
    """
    for number in range(_STANDARD_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            # Takes the lowest number that is free.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python has made no objects for streams that were closed when it started.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _flush_output() -> int:
    """Writes what is buffered now: at the interpreter's exit nobody could tell the failure."""
    if not sys.stdout.closed:
        sys.stdout.flush()
    return exit_status.OK


def _discard(stream: TextIO) -> None:
    """Sends what is left to nowhere, so that the interpreter's own flush succeeds."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
