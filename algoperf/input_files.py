"""Files as people leave them: links, missing permissions, litter, pipes, damage.

The raw files of all data sets are found, listed and opened through here, so that each of
these has one rule: links are followed, litter is passed over, anything that is neither a
file nor a folder is refused, and what goes wrong is one `BadData` that says what it is.
"""

import contextlib
import errno
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from algoperf.errors import AlgoPerfError, BadData, near

GET_AGAIN = "Delete it and get the official file again."

# What systems and file managers leave in folders and archives.
_LITTER = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini"})
_DENIED = (errno.EACCES, errno.EPERM)
# Errors of writing are not the file's that is being read.
_OF_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_DAMAGES: tuple[type[Exception], ...] = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    NotImplementedError,  # a zip file packed in another way
)
_ARCHIVE_DAMAGES: tuple[type[Exception], ...] = (*_DAMAGES, EOFError, gzip.BadGzipFile)
_KINDS = {
    stat.S_IFIFO: "a pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_MAX_SHOWN = 10  # names of files in a message
_MAX_TEXT = 200  # characters of a library's error in a message


class Entry(NamedTuple):
    """A file or a folder, links followed."""

    path: Path
    is_folder: bool
    size_bytes: int  # 0 for a folder


def is_litter(name: str) -> bool:
    """Whether a file is hidden or was left by a file manager; name: a path, with slashes.

    So is everything in a folder that is litter.
    """
    parts = PurePosixPath(name).parts
    return any(
        part.lower() in _LITTER or (part.startswith(".") and part != "..")
        for part in parts
    )


def look_up(path: Path) -> Entry | None:
    """What is at `path`; None for nothing, `BadData` for what cannot be used."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise _broken_link(path) from None
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(found.st_mode):
        return Entry(path, True, 0)
    if stat.S_ISREG(found.st_mode):
        return Entry(path, False, found.st_size)
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no file")
    raise BadData(
        f"{path} is {kind}; only files and folders can be used. Move it away."
    )


def is_file(path: Path) -> bool:
    """Whether there is a file at `path`; `BadData` as of `look_up`."""
    entry = look_up(path)
    return entry is not None and not entry.is_folder


def is_folder(path: Path) -> bool:
    """Whether there is a folder at `path`; `BadData` as of `look_up`."""
    entry = look_up(path)
    return entry is not None and entry.is_folder


def size_or_none(path: Path) -> int | None:
    """Size of a file in bytes; None where there is none."""
    entry = look_up(path)
    return None if entry is None or entry.is_folder else entry.size_bytes


def size_bytes(path: Path) -> int:
    """Size of a file, or of all files in a folder, litter left out."""
    entry = look_up(path)
    if entry is None:
        raise BadData(f"There is no file {path}.")
    if not entry.is_folder:
        return entry.size_bytes
    return sum(found.size_bytes for found in files_below(path))


def entries(folder: Path) -> list[Entry]:
    """The files and folders in a folder, sorted by name, litter left out."""
    with reading(folder):
        names = sorted(os.listdir(folder))
    found = (look_up(folder / name) for name in names if not is_litter(name))
    return [entry for entry in found if entry is not None]


def files_below(folder: Path) -> Iterator[Entry]:
    """The files in a folder and its subfolders, sorted by path, links followed.

    A link to a folder that contains the link would never end; it is a `BadData`.
    """
    yield from _walk(folder, ())


def _walk(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Entry]:
    with reading(folder):
        found = folder.stat()
    own = found.st_dev, found.st_ino
    if own in above:
        raise BadData(
            f"{folder} is a link to a folder that contains it, a loop. Remove the link."
        )
    for entry in entries(folder):
        if entry.is_folder:
            yield from _walk(entry.path, (*above, own))
        else:
            yield entry


def check_raw_folder(folder: Path, raw_help: str) -> None:
    """`BadData` unless there is a folder of raw files. raw_help: what it must hold."""
    if not is_folder(folder):
        raise BadData(f"There is no folder {folder} with raw files.\n{raw_help}")


def first_of(folder: Path, *names: str) -> Entry | None:
    """The first of these names that is in `folder`."""
    found = (look_up(folder / name) for name in names)
    return next((entry for entry in found if entry is not None), None)


def suggestion(name: str, there: Collection[str]) -> str:
    """` Did you mean 'x'?` for a file of nearly this name, above all in other letters."""
    for other in there:
        if other.lower() == name.lower() != "":
            return f" Did you mean {other!r}? Upper and lower case must be right."
    return near(name, there)


def not_found(
    folder: Path,
    lacks: str,
    raw_help: str,
    *,
    name: str = "",
    expected: Collection[str] = (),
) -> BadData:
    """The error that says what a folder of raw files lacks, and what it has.

    lacks: such as "no file a.gz". name: what was looked for; one of the other files with
    nearly this name is suggested. expected: names that are right and never suggested.
    """
    there = [entry.path.name for entry in entries(folder)]
    hint = suggestion(name, [other for other in there if other not in expected])
    shown = ", ".join(there[:_MAX_SHOWN]) or "nothing"
    more = f" and {len(there) - _MAX_SHOWN:,} more" if len(there) > _MAX_SHOWN else ""
    return BadData(f"{folder} has {lacks}.{hint} It has: {shown}{more}.\n{raw_help}")


@contextlib.contextmanager
def opened(
    path: Path, remedy: str = GET_AGAIN, *, buffering: int = -1
) -> Iterator[BinaryIO]:
    """The file at `path` for reading bytes; errors in the body are as of `reading`."""
    with reading(path, remedy):
        if not is_file(path):
            what = "" if remedy == GET_AGAIN else f" {remedy}"
            raise BadData(f"There is no file {path}.{what}")
        with path.open("rb", buffering) as file:
            yield file


@contextlib.contextmanager
def reading(
    shown: Path | str,
    remedy: str = GET_AGAIN,
    *,
    damages: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turns what goes wrong while a file is read in the body into one `BadData`.

    shown: the file, or what errors call it. remedy: what to do if it is damaged.
    damages: exceptions, beside those of the standard library, that mean damage.
    Errors of writing (a full disk) are left to whoever writes.
    """
    try:
        yield
    except AlgoPerfError:
        raise
    except EOFError as error:
        raise BadData(
            f"{shown} is cut off: its gzip data end early. {remedy}"
        ) from error
    except (*_DAMAGES, *damages) as error:
        raise BadData(
            f"{shown} is cut off or damaged ({in_one_line(error)}). {remedy}"
        ) from error
    except OSError as error:
        if error.errno in _OF_WRITING:
            raise
        # Libraries (gzip, HDF5) raise it without a number for bytes that are wrong.
        if error.errno is None:
            raise BadData(
                f"{shown} is damaged ({in_one_line(error)}). {remedy}"
            ) from error
        raise _unreadable(shown, error) from error


@contextlib.contextmanager
def reading_archive(
    shown: Path | str, position: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """As `reading`, for packed archives, where a cut and other damage look alike.

    position: how far reading came, such as " after row 7", for the message.
    """
    with reading(shown):
        try:
            yield
        except _ARCHIVE_DAMAGES as error:
            raise BadData(
                f"{shown} is cut off or damaged{position()} ({in_one_line(error)}). "
                f"{GET_AGAIN}"
            ) from error


@contextlib.contextmanager
def opened_archive(path: Path) -> Iterator[BinaryIO]:
    """As `opened`, with errors as of `reading_archive`."""
    with opened(path) as file, reading_archive(path):
        yield file


def in_one_line(error: Exception) -> str:
    """What a library says, short enough to stand within a sentence."""
    text = " ".join(str(error).strip("'\"").split()) or type(error).__name__
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} …"


def _unreadable(shown: Path | str, error: OSError) -> BadData:
    """The error for a file that the system does not let us read."""
    path = error.filename if isinstance(error.filename, str) else str(shown)
    if error.errno in _DENIED:
        return BadData(
            f"{shown} cannot be read: permission denied for {path}. It need not be "
            f"damaged: allow reading, for example with `chmod u+rX {path}`, or ask the "
            "owner."
        )
    if error.errno == errno.ELOOP:
        return BadData(f"{path} is a link that leads back to itself. Remove the link.")
    if error.errno == errno.ENOENT:
        if Path(path).is_symlink():
            return _broken_link(Path(path))
        return BadData(f"{shown} cannot be read: {path} does not exist, or no longer.")
    return BadData(
        f"{shown} cannot be read ({error.strerror}). Check the disk, or the network "
        "drive, that it lies on."
    )


def _broken_link(path: Path) -> BadData:
    return BadData(
        f"{path} is a link to {os.readlink(path)}, which does not exist. Mend the link, "
        "or put the file in its place."
    )
