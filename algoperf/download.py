"""Raw files from the network to the disk: fetch with resume, unpack, check space.

What a data set needs, and what its files mean, is said in `datasets/<name>/prepare.py`.
"""

import contextlib
import errno
import gzip
import hashlib
import http.client
import lzma
import os
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TextIO

from algoperf import input_files
from algoperf.errors import BadData
from algoperf.terminal_bar import TerminalBar

# What is being done, how much of it is done, and of how much (None: not known).
Progress = Callable[[str, int, int | None], None]

_BLOCK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60.0
_UNPACKING_ERRORS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # a zip file with a password, or packed in an unknown way
)
_DENIED = "Allow writing there, or choose another folder."
_REMEDIES: Mapping[int | None, str] = {
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: _DENIED,
    errno.EFBIG: "Lift the limit on the size of files (`ulimit -f`; FAT disks have one).",
}
_REMEDY = "Check that disk, its quota and limits, and run the same command again."


def no_progress(label: str, done: int, total: int | None) -> None:
    """A `Progress` that shows nothing."""


class ProgressPrinter:
    """A `Progress` that writes to stderr, at most every half second and at the end."""

    def __init__(
        self,
        stream: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
        period_seconds: float = 0.5,
    ) -> None:
        self._stream = stream or sys.stderr
        self._now = now
        self._period_seconds = period_seconds
        self._label = ""
        self._last = 0.0
        self._bar: TerminalBar | None = None

    def __call__(self, label: str, done: int, total: int | None) -> None:
        """Shows `done` of `total`, unless the same label was shown a moment ago."""
        now = self._now()
        is_recent = now - self._last < self._period_seconds
        if label == self._label and is_recent and done != total:
            return
        self._label, self._last = label, now
        share = f"{100 * done / total:.0f} %" if total else f"{done:,}"
        if self._bar is None and self._stream.isatty():
            self._bar = TerminalBar(self._stream)
        if self._bar is not None and done != total:
            self._bar.draw(label, done, total, share)
            return
        if self._bar is not None:
            self._bar.clear()
        print(f"{label}: {share}", file=self._stream, flush=True)


def readable_size(num_bytes: int) -> str:
    """A size in the unit that suits it: `4,542 bytes`, `9.9 MB`, `350 GB`."""
    if num_bytes < 10_000:
        return f"{num_bytes:,} bytes"
    size = float(num_bytes)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}" if size < 100 else f"{size:.0f} {unit}"
    return f"{size / 1000:,.1f} TB"


def free_bytes(folder: Path) -> int:
    """Free space on the disk that holds `folder`, which need not exist yet."""
    existing = folder.absolute()
    while not os.path.exists(existing):
        existing = existing.parent
    return shutil.disk_usage(existing).free


def check_space(folder: Path, needed_bytes: int, purpose: str) -> str:
    """Says how much space is needed and free; `BadData` where it is not enough."""
    free = free_bytes(folder)
    said = (
        f"{purpose} needs {readable_size(needed_bytes)} in {folder}; "
        f"{readable_size(free)} are free."
    )
    if needed_bytes > free:
        raise BadData(
            f"{said} Free {readable_size(needed_bytes - free)} more there, or choose a "
            "folder on another disk."
        )
    return said


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turns what goes wrong while files are written in the body into a `BadData`.

    It says whether the disk is full, or what else is wrong, and what to do.
    """
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        # numpy and HDF5 lose the error number on the way.
        if is_full or free_bytes(folder) <= _BLOCK_BYTES:
            raise BadData(
                f"No space left on the disk of {folder} "
                f"({readable_size(free_bytes(folder))} free). What was finished is kept: "
                "make space and run the same command again."
            ) from error
        if error.errno is None and type(error) is not OSError:
            raise
        raise BadData(
            f"Cannot write {_written(error, folder)}: "
            f"{error.strerror or error}. {_REMEDIES.get(error.errno, _REMEDY)} What was "
            "finished is kept."
        ) from error


def _written(error: OSError, folder: Path) -> str:
    """What could not be written; some errors name the file that was copied."""
    name = error.filename
    if isinstance(name, str) and Path(name).is_relative_to(folder):
        return name
    return f"files in {folder}"


def checksum(
    path: Path, algorithm: str = "sha256", progress: Progress = no_progress
) -> str:
    """The hexadecimal digest of a file."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with input_files.opened(path) as file:
        total, done = os.fstat(file.fileno()).st_size, 0
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            done += len(block)
            progress(f"checking {path.name}", done, total)
    return digest.hexdigest()


def fetch(
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    progress: Progress = no_progress,
    attempts: int = 3,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Downloads `url` to the file `destination`; resumes an interrupted download.

    The file gets its name only when it is complete and agrees with `size` (bytes) and
    the checksums that are given. One that is there already is checked, not fetched
    again. Raises `BadData` without network, or for a file that is not the expected one.
    """
    expected = {
        name: value
        for name, value in (("sha256", sha256), ("md5", md5))
        if value is not None
    }
    if input_files.is_file(destination):
        _verify(destination, destination, size, expected)
        return destination
    with writing_to(destination.parent):
        destination.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(url, destination, has_checksum=bool(expected))
    for attempt in range(1, attempts + 1):
        try:
            transfer.run(progress)
            break
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            if attempt == attempts or not _may_pass(error):
                raise BadData(_no_network(url, destination, error)) from error
            sleep(2.0**attempt)
    try:
        _verify(transfer.partial, destination, size, expected)
    except BadData:
        transfer.discard()
        raise
    transfer.partial.replace(destination)
    transfer.discard()
    return destination


class _Transfer:
    """One download into `<name>.partial`, with the server's mark of its version."""

    def __init__(self, url: str, destination: Path, *, has_checksum: bool) -> None:
        self.partial = destination.with_name(destination.name + ".partial")
        self._etag = destination.with_name(destination.name + ".partial.etag")
        self._url = url
        self._has_checksum = has_checksum
        if not url.startswith(("http://", "https://")):
            raise BadData(f"{url} is not a http:// or https:// address.")

    def discard(self) -> None:
        """Removes what the transfer left beside the destination."""
        self.partial.unlink(missing_ok=True)
        self._etag.unlink(missing_ok=True)

    def run(self, progress: Progress) -> None:
        """Fetches what is missing; returns when the partial file is complete."""
        offset, headers = self._resume_headers()
        # urlopen's compressed transfer would be written to disk undecoded.
        request = urllib.request.Request(
            self._url, headers={"Accept-Encoding": "identity", **headers}
        )
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            # 416: the part that is there has nothing, or nothing sensible, missing.
            if error.code != 416 or not offset:
                raise
            if error.headers.get("Content-Range") == f"bytes */{offset}":
                return
            self.discard()
            return self.run(progress)
        with response:
            self._receive(response, offset, progress)

    def _resume_headers(self) -> tuple[int, dict[str, str]]:
        offset = self.partial.stat().st_size if self.partial.exists() else 0
        if not offset:
            return 0, {}
        etag = self._etag.read_text() if self._etag.exists() else ""
        if etag:
            version = {"If-Range": etag}
        elif self._has_checksum:
            version = {}
        else:
            # Nothing would tell if the server's file had changed in between.
            return 0, {}
        return offset, {"Range": f"bytes={offset}-", **version}

    def _receive(
        self, response: http.client.HTTPResponse, offset: int, progress: Progress
    ) -> None:
        if response.status == 206:
            said = response.headers.get("Content-Range", "")
            if not said.startswith(f"bytes {offset}-"):
                raise http.client.HTTPException(f"the server sent {said!r} of the file")
        else:
            offset = 0
            with writing_to(self._etag.parent):
                self._etag.write_text(response.headers.get("ETag", ""))
        length = response.headers.get("Content-Length")
        total = offset + int(length) if length is not None else None
        done = offset
        with self._opened(offset) as file:
            # What has come so far: `read` would lose it when the server stands still.
            while block := response.read1(_BLOCK_BYTES):
                with writing_to(self.partial.parent):
                    file.write(block)
                    file.flush()
                done += len(block)
                progress(f"downloading {Path(self._url).name}", done, total)
        if total is not None and done < total:
            raise http.client.IncompleteRead(b"", total - done)

    @contextlib.contextmanager
    def _opened(self, offset: int) -> Iterator[BinaryIO]:
        """The partial file from `offset` on, on the disk when the body ends well."""
        folder = self.partial.parent
        with writing_to(folder):
            file = self.partial.open("r+b" if offset else "wb")
        with file:
            file.seek(offset)
            yield file
            with writing_to(folder):
                os.fsync(file.fileno())


def _may_pass(error: Exception) -> bool:
    """Whether trying again can help: anything but a refusal by the server."""
    return not isinstance(error, urllib.error.HTTPError) or error.code >= 500


def _no_network(url: str, destination: Path, error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return (
        f"Could not download {url}: {reason}. Run the same command again to go on "
        "where it broke off, or download that file by hand, name it "
        f"{destination.name}, and pass the folder that holds it with --raw DIR."
    )


def _verify(
    path: Path, shown: Path, size: int | None, checksums: Mapping[str, str]
) -> None:
    """Compares a file with what is known of it; `shown` is the name that people see."""
    remedy = f"Delete {shown} if it exists and download it again."
    found = path.stat().st_size
    if size is not None and found != size:
        raise BadData(f"{shown} has {found:,} bytes; {size:,} are expected. {remedy}")
    for algorithm, expected in checksums.items():
        digest = checksum(path, algorithm)
        if digest != expected:
            raise BadData(
                f"{shown} has the {algorithm} checksum {digest}; {expected} is "
                f"expected. {remedy}"
            )


def unpack(archive: Path, destination: Path) -> Path:
    """Unpacks a .tar(.gz|.bz2|.xz), .tgz or .zip into a folder, or a .gz into a file.

    `destination` appears when everything is unpacked, and is left alone if it exists. A
    member that would land outside it, a link out of it or a device is refused with
    `BadData`, as is a damaged archive.
    """
    if destination.exists():
        return destination
    name = archive.name.lower()
    if re.search(r"\.(tar(\.(gz|bz2|xz))?|tgz)$", name):
        extract: Callable[[Path, Path], None] = _extract_tar
    elif name.endswith(".zip"):
        extract = _extract_zip
    elif name.endswith(".gz"):
        extract = _extract_gzip
    else:
        raise BadData(f"{archive} is no .tar, .tar.gz, .tgz, .zip or .gz file.")
    with input_files.opened(archive):
        pass  # so that errors below are of writing
    temporary = destination.with_name(f".{destination.name}.unpacking")
    try:
        with writing_to(destination.parent):
            destination.parent.mkdir(parents=True, exist_ok=True)
            _remove(temporary)
            extract(archive, temporary)
            temporary.replace(destination)
    except (*_UNPACKING_ERRORS, gzip.BadGzipFile) as error:
        raise BadData(
            f"{archive} cannot be unpacked: {error}. It is damaged or not what its "
            "name says: delete it and download it again."
        ) from error
    finally:
        _remove(temporary)
    return destination


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _extract_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            # zipfile would silently move such a member inside.
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise zipfile.BadZipFile(f"{name!r} would land outside the folder")
        file.extractall(folder)


def _extract_gzip(archive: Path, path: Path) -> None:
    with gzip.open(archive, "rb") as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file, _BLOCK_BYTES)
