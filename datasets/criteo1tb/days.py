"""The official files: which of the 24 days are wanted, and which are there."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import TypeAlias

from algoperf import input_files
from algoperf.errors import BadData

RAW_HELP = """\
Criteo 1TB click logs, 24 files (about 350 GB), gzip-packed or not:
  day_0.gz  day_1.gz  ...  day_23.gz
From the Criteo AI Lab, https://ailab.criteo.com/ressources/ (terms must be accepted;
licence believed to be CC BY-NC-SA 4.0, see there). A partial copy (--subset N) needs
day_23 and at least one other day; it reads the days that are there, or --days.
The published benchmark's pieces of these files, day_0_00, day_0_01, ..., are read too."""

NUM_DAYS = 24
LAST_DAY = NUM_DAYS - 1  # of it validation and test are made
Pieces: TypeAlias = tuple[Path, ...]  # the file of a day, or what it was cut into
# The published names: the number of the piece has two digits.
_PIECE = re.compile(r"day_(\d{1,2})_(\d{2,3})")


def days_of(text: str) -> frozenset[int]:
    """The days that `--days` names: numbers and ranges, such as 0-2,23."""
    days: set[int] = set()
    for item in text.split(","):
        first, dash, last = (part.strip() for part in item.partition("-"))
        ends = [first, last] if dash else [first]
        if not all(end.isdecimal() and int(end) < NUM_DAYS for end in ends):
            raise BadData(
                f"--days {text}: {item.strip()!r} is no day, nor a range of them. "
                f"Days are 0 to {LAST_DAY}; write for example 0-2,{LAST_DAY}."
            )
        days |= set(range(int(ends[0]), int(ends[-1]) + 1))
    if LAST_DAY not in days or len(days) == 1:
        raise BadData(
            f"--days {text}: name day {LAST_DAY} (validation and test) and at least one "
            f"other (train), for example 0-2,{LAST_DAY}."
        )
    return frozenset(days)


def enough_days(there: Collection[int]) -> set[int]:
    """The days that are there, and what a partial copy needs beside them."""
    train = set(there) - {LAST_DAY}
    return {*(train or {0}), LAST_DAY}


def check_days(paths: dict[int, Pieces], raw: Path, days: Collection[int]) -> None:
    """Raises `BadData` for the first of `days` that is not among `paths`."""
    missing = sorted(set(days) - set(paths))
    if missing:
        used = {path.name for pieces in paths.values() for path in pieces}
        name = f"day_{missing[0]}.gz"
        raise input_files.not_found(
            raw, f"no file {name}", RAW_HELP, name=name, expected=used
        )


def find_days(raw: Path) -> dict[int, Pieces]:
    """The files of the days that are there, by day; a packed one before an unpacked.

    A day is one official file, or the pieces that the published benchmark cuts it into.
    """
    input_files.check_raw_folder(raw, RAW_HELP)
    found: dict[int, Pieces] = {}
    for day in range(NUM_DAYS):
        entry = input_files.first_of(raw, f"day_{day}.gz", f"day_{day}")
        if entry is not None and not entry.is_folder:
            found[day] = (entry.path,)
    is_whole = bool(found)
    if not is_whole:
        found = _pieces(raw)
    known = {f"day_{day}" for day in range(NUM_DAYS)}
    names = [entry.path.name for entry in input_files.entries(raw)]
    extra = [
        name
        for name in names
        if name.startswith("day_")
        and name.removesuffix(".gz") not in known
        and (is_whole or not _PIECE.fullmatch(name))
    ]
    if extra and len(found) == NUM_DAYS:
        raise BadData(
            f"{raw} has {extra[0]} beside all {NUM_DAYS} official files. Move it "
            "away, or check that the folder holds the right data."
        )
    return found


def _pieces(raw: Path) -> dict[int, Pieces]:
    """The days that were cut into pieces `day_D_00`, `day_D_01`, …; none may be missing."""
    by_day: dict[int, dict[int, Path]] = {}
    for entry in input_files.entries(raw):
        match = _PIECE.fullmatch(entry.path.name)
        if match and not entry.is_folder and int(match[1]) < NUM_DAYS:
            by_day.setdefault(int(match[1]), {})[int(match[2])] = entry.path
    for day, pieces in by_day.items():
        missing = set(range(max(pieces) + 1)) - set(pieces)
        if missing:
            raise BadData(
                f"{raw} has {pieces[max(pieces)].name} but no "
                f"day_{day}_{min(missing):02d}: it was not copied as a whole. Copy it again."
            )
    return {
        day: tuple(path for _, path in sorted(by_day[day].items()))
        for day in sorted(by_day)
    }
