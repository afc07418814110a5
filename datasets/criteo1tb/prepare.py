"""Raw official Criteo 1TB files -> prepared data.

The names that every data set's `prepare.py` has are explained in `datasets/mnist`.
What is special here: 24 files of tens of gigabytes are streamed, several at a time,
into files of 5,000,000 rows each, and a partial copy needs only some of the days.
"""

import concurrent.futures
import itertools
import os
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf.definition import Split, Splits
from algoperf.download import Progress, no_progress
from algoperf.errors import BadData
from algoperf.manifest import OPTIONS
from algoperf.prepared import Preparation

from . import flights, reader, text
from .days import (
    LAST_DAY,
    NUM_DAYS,
    RAW_HELP,
    Pieces,
    check_days,
    days_of,
    enough_days,
    find_days,
)
from .lines import LineSource
from .reader import FORMAT_VERSION

__all__ = [
    "FORMAT_VERSION",
    "PUBLISHED",
    "RAW_HELP",
    "days_of",
    "expand_embedded",
    "prepare",
    "space_needed",
]

PUBLISHED = ("criteo1tb",)

# The published benchmark splits days into files of this many lines, and shuffles files.
ROWS_PER_FILE = 5_000_000
_FULL_SIZE = 4_373_472_329  # rows
# Criteo's lines have about 80 bytes packed, 230 unpacked; a row takes 158. With a reserve.
_EXPANSION = {".gz": 2.2, "": 0.8}
_SMALL_FILES_BYTES = 16_384  # summaries, manifest
_COUNTED_BYTES = 100_000_000  # smaller raw folders have their lines counted


def expand_embedded(raw: Path) -> None:
    """Writes 112,252 real flights as 24 day files in the official layout.

    See embedded/NOTICE for their source and licence.
    """
    flights.expand(raw)


def space_needed(raw: Path | None, subset: int | None = None) -> int:
    """Bytes of the prepared data; for large raw files estimated from their sizes."""
    if raw is None:
        return _FULL_SIZE * reader.ROW_BYTES
    most = _FULL_SIZE if subset is None else 3 * subset
    return min(_space_of_all(raw), most * reader.ROW_BYTES + _SMALL_FILES_BYTES)


def _space_of_all(raw: Path) -> int:
    days = find_days(raw).values()
    paths = [path for pieces in days for path in pieces]
    if sum(path.stat().st_size for path in paths) > _COUNTED_BYTES:
        needed = sum(p.stat().st_size * _EXPANSION[p.suffix] for p in paths)
        return int(needed)
    num_rows = 0
    for path in paths:
        source = LineSource(path)
        source.skip(_FULL_SIZE)
        num_rows += source.rows_read
        source.close()
    return num_rows * reader.ROW_BYTES + _SMALL_FILES_BYTES


def prepare(
    raw: Path,
    preparation: Preparation,
    *,
    splits: Splits,
    subset: int | None = None,
    days: Collection[int] | None = None,
    progress: Progress = no_progress,
    rows_per_file: int = ROWS_PER_FILE,
) -> None:
    """Writes the rows of each day in files of `rows_per_file`, days in parallel.

    Days 0-22 are train. Of day 23 the first `splits.test` rows are test, the others
    validation, as in the published benchmark. With `subset`, its training rows are
    equal parts of `days`, or else of the days that are there.
    """
    paths = find_days(raw)
    facts = {} if days is None else {OPTIONS: {"--days": _listed(days)}}
    if days is None:
        days = range(NUM_DAYS) if subset is None else enough_days(paths)
    check_days(paths, raw, days)
    paths = {day: path for day, path in paths.items() if day in days}
    preparation.identify(
        raw_bytes={
            path.name: path.stat().st_size
            for pieces in paths.values()
            for path in pieces
        },
        test=splits.test,
        rows_per_file=rows_per_file,
    )
    plans = _plans(paths, splits, subset)
    conversion = _Conversion(preparation, plans, rows_per_file, splits, progress)
    rows = conversion.run()
    counts, files = _count(plans, rows, splits)
    if subset is None:
        _check_counts(counts, splits, raw, rows)
    preparation.finish(counts, facts={"files": files, **facts})


def _listed(days: Collection[int]) -> str:
    """Days as `--days` takes them."""
    return ",".join(map(str, sorted(days)))


@dataclass(frozen=True)
class _Piece:
    """Rows of a day that belong to one split; `num_rows` None: to the end."""

    split: Split
    first: int
    num_rows: int | None


@dataclass(frozen=True)
class _Plan:
    """What is kept of one day."""

    day: int
    paths: Pieces
    pieces: Sequence[_Piece]

    @property
    def reads_all(self) -> bool:
        """Whether the file is read to its end."""
        return self.pieces[-1].num_rows is None


def _plans(paths: dict[int, Pieces], splits: Splits, subset: int | None) -> list[_Plan]:
    train_days = [day for day in paths if day != LAST_DAY]
    plans = []
    for place, day in enumerate(train_days):
        rows = None
        if subset is not None:
            ends = [subset * (place + i) // len(train_days) for i in (0, 1)]
            rows = ends[1] - ends[0]
        plans.append(_Plan(day, paths[day], [_Piece("train", 0, rows)]))
    test, validation = splits.test, None
    if subset is not None:
        test, validation = min(test, subset), min(splits.validation, subset)
    pieces = [_Piece("test", 0, test), _Piece("validation", splits.test, validation)]
    return [*plans, _Plan(LAST_DAY, paths[LAST_DAY], pieces)]


class _Conversion:
    """Converts days in threads; the first error stops all of them."""

    def __init__(
        self,
        preparation: Preparation,
        plans: Sequence[_Plan],
        rows_per_file: int,
        splits: Splits,
        progress: Progress,
    ) -> None:
        self._preparation = preparation
        self._plans = plans
        self._rows_per_file = rows_per_file
        self._total = splits.train + splits.validation + splits.test
        if preparation.subset is not None:
            self._total = min(self._total, 3 * preparation.subset)
        self._progress = progress
        self._done = 0
        self._mutex = threading.Lock()
        self._stopped = threading.Event()

    def run(self) -> dict[int, list[list[int]]]:
        """Rows of each file of each piece of each day."""
        # The days with a summary take no time; long ones first would gain little.
        workers = min(len(self._plans), os.cpu_count() or 1)
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            futures = {pool.submit(self._day, p): p.day for p in self._plans}
            try:
                return {
                    futures[future]: future.result()
                    for future in concurrent.futures.as_completed(futures)
                }
            finally:
                self._stopped.set()
                pool.shutdown(cancel_futures=True)

    def _day(self, plan: _Plan) -> list[list[int]]:
        summary = f"day_{plan.day}.json"
        if self._preparation.has(summary):
            rows = reader.read_summary(self._preparation.destination / summary)
            if all(
                map(self._preparation.has, itertools.chain(*_names(plan.day, rows)))
            ):
                self._report(sum(map(sum, rows)))
                return rows
        source = LineSource(*plan.paths)
        try:
            rows = self._convert(plan, source)
        finally:
            source.close()
        with self._preparation.part(summary) as path:
            reader.write_summary(path, rows)
        return rows

    def _convert(self, plan: _Plan, source: LineSource) -> list[list[int]]:
        rows: list[list[int]] = []
        for piece in plan.pieces:
            source.skip(piece.first - source.rows_read)
            rows.append([])
            left = piece.num_rows if piece.num_rows is not None else _FULL_SIZE
            while left:
                number = sum(map(len, rows))
                limit = min(left, self._rows_per_file)
                count = self._file(_name(plan.day, number), source, limit)
                if not count:
                    break
                rows[-1].append(count)
                left -= count
        return rows

    def _file(self, name: str, source: LineSource, limit: int) -> int:
        """Converts the next rows to one file; the number of rows, 0 at the end."""
        if self._preparation.has(name):
            size = (self._preparation.destination / name).stat().st_size
            count = size // reader.ROW_BYTES
            self._skip(source, count)
            return count
        lines, count = source.take(limit)
        if not count:
            return 0
        with self._preparation.part(name) as path:
            writer = reader.RowWriter(path)
            while count:
                first_row = source.rows_of_file - count + 1
                fields = text.parse(lines, str(source.path), first_row)
                writer.append(*reader.pack(*fields))
                self._report(count)
                lines, count = source.take(limit - writer.num_rows)
            writer.close()
        return writer.num_rows

    def _skip(self, source: LineSource, count: int) -> None:
        """Passes over rows that are finished; a gzip file must be unpacked anyway."""
        while count:
            step = min(count, 100_000)
            source.skip(step)
            self._report(step)
            count -= step

    def _report(self, num_rows: int) -> None:
        if self._stopped.is_set():
            raise concurrent.futures.CancelledError
        with self._mutex:
            self._done += num_rows
            self._progress("converting rows", self._done, self._total)


def _name(day: int, number: int) -> str:
    """The published name of the `number`-th file of a day, as a binary file."""
    return f"day_{day}_{number:02d}.bin"


def _names(day: int, rows: Sequence[Sequence[int]]) -> list[list[str]]:
    """Names of the files of each piece of a day."""
    numbers = itertools.count()
    return [[_name(day, next(numbers)) for _ in piece] for piece in rows]


def _count(
    plans: Sequence[_Plan], rows: dict[int, list[list[int]]], splits: Splits
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Number of rows, and names of the files, of each split; files in sorted order."""
    counts: dict[str, int] = dict.fromkeys(reader.SPLITS, 0)
    files: dict[str, list[str]] = {split: [] for split in reader.SPLITS}
    for plan in plans:
        names = _names(plan.day, rows[plan.day])
        for piece, sizes, named in zip(plan.pieces, rows[plan.day], names, strict=True):
            counts[piece.split] += sum(sizes)
            files[piece.split] += named
    return counts, files


def _check_counts(
    counts: dict[str, int], splits: Splits, raw: Path, rows: dict[int, list[list[int]]]
) -> None:
    if all(counts[split] == splits.size(split) for split in reader.SPLITS):
        return
    found = ", ".join(f"{s} {counts[s]:,}" for s in reader.SPLITS)
    needed = ", ".join(f"{s} {splits.size(s):,}" for s in reader.SPLITS)
    days = ", ".join(f"day_{day} {sum(map(sum, rows[day])):,}" for day in sorted(rows))
    raise BadData(
        f"The files in {raw} have {found} rows; {needed} are expected. They are not the "
        f"official files, or not whole. Rows of each: {days}."
    )
