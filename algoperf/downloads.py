"""The official files of a data set that a program may fetch: addresses, sizes, checksums."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf import input_files
from algoperf.download import Progress, fetch, no_progress, readable_size
from algoperf.errors import BadData


@dataclass(frozen=True)
class OfficialFile:
    """One file. urls: the official address, then mirrors; tried in this order."""

    urls: tuple[str, ...]
    about_bytes: int  # for people: only what is below is compared
    md5: str | None = None
    sha256: str | None = None
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """The file's name."""
        return self.urls[0].rpartition("/")[2]


def mirrored(name: str, *folders: str) -> tuple[str, ...]:
    """The addresses of a file in several folders, which end with a slash."""
    return tuple(folder + name for folder in folders)


def fetch_all(
    files: Sequence[OfficialFile], raw: Path, progress: Progress = no_progress
) -> None:
    """Downloads what is missing into the folder `raw`, from mirrors where need be.

    A file that is there is checked, a part of one continued; see `download.fetch`.
    """
    for file in files:
        _fetch(file, raw, progress)


def _fetch(file: OfficialFile, raw: Path, progress: Progress) -> None:
    for number, url in enumerate(file.urls, 1):
        try:
            fetch(
                url,
                raw / file.name,
                md5=file.md5,
                sha256=file.sha256,
                size=file.size_bytes,
                progress=progress,
            )
            return
        except BadData as error:
            is_last = number == len(file.urls)
            # A wrong file that is there would be as wrong for the next mirror.
            if is_last or input_files.is_file(raw / file.name):
                raise
            print(f"{error} Trying {file.urls[number]} instead.")


def plan(files: Sequence[OfficialFile], raw: Path) -> list[str]:
    """What `fetch_all` would do, a line for each file."""
    lines = []
    for file in files:
        checks = " and ".join(
            name for name in ("md5", "sha256") if getattr(file, name) is not None
        )
        state = "to download"
        part = input_files.size_or_none(raw / f"{file.name}.partial")
        if input_files.is_file(raw / file.name):
            state = "there already"
        elif part:
            state = f"to continue after {readable_size(part)}"
        lines.append(
            f"{file.name}: about {readable_size(file.about_bytes)}, {state}; "
            f"{checks or 'no'} checksum; {' or '.join(file.urls)}"
        )
    missing = [f for f in files if not input_files.is_file(raw / f.name)]
    total = sum(file.about_bytes for file in missing)
    lines.append(f"In all about {readable_size(total)} to download into {raw}.")
    return lines
