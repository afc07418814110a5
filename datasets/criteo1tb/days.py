"""The official files: which of the 24 days are wanted, and which are there."""

from collections.abc import Collection
from pathlib import Path

from algoperf.errors import BadData, near

RAW_HELP = """\
Criteo 1TB click logs, 24 files (about 350 GB), gzip-packed or not:
  day_0.gz  day_1.gz  ...  day_23.gz
From the Criteo AI Lab, https://ailab.criteo.com/ressources/ (terms must be accepted;
licence believed to be CC BY-NC-SA 4.0, see there). A partial copy (--subset N) needs
day_23 and at least one other day; it reads the days that are there, or --days."""

NUM_DAYS = 24
LAST_DAY = NUM_DAYS - 1  # of it validation and test are made


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


def check_days(paths: dict[int, Path], raw: Path, days: Collection[int]) -> None:
    """Raises `BadData` for the first of `days` that is not among `paths`."""
    missing = sorted(set(days) - set(paths))
    if missing:
        there = sorted(p.name for p in raw.iterdir() if p.is_file())
        used = {path.name for path in paths.values()}
        name = f"day_{missing[0]}.gz"
        hint = near(name, [other for other in there if other not in used])
        raise BadData(
            f"{raw} has no file {name}.{hint} It has: "
            f"{', '.join(there) or 'nothing'}.\n{RAW_HELP}"
        )


def find_days(raw: Path) -> dict[int, Path]:
    """The files of the days that are there, by day; a packed one before an unpacked."""
    if not raw.is_dir():
        raise BadData(f"There is no folder {raw} with raw files.\n{RAW_HELP}")
    found = {}
    for day in range(NUM_DAYS):
        for path in (raw / f"day_{day}.gz", raw / f"day_{day}"):
            if path.is_file():
                found[day] = path
                break
    extra = [
        path.name
        for path in raw.glob("day_*")
        if path.name.removesuffix(".gz")
        not in {f"day_{day}" for day in range(NUM_DAYS)}
    ]
    if extra and len(found) == NUM_DAYS:
        raise BadData(
            f"{raw} has {sorted(extra)[0]} beside all {NUM_DAYS} official files. Move it "
            "away, or check that the folder holds the right data."
        )
    return found
