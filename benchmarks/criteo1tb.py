"""How fast Criteo 1TB data are converted and read.

    python benchmarks/criteo1tb.py

Prints ratios to the floor measured in the same run (copies of a mapped file) and to
what 8 V100 consume. The text is made up, in the official layout: 26 categories of 5,000
values of unequal frequency, a fifth of the integers empty. Run it with OMP_NUM_THREADS=1.
"""

import dataclasses
import gzip
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import shortest

from algoperf import pipeline, registry
from algoperf.datasets.criteo1tb import prepare, reader, text
from algoperf.datasets.criteo1tb.lines import LineSource
from algoperf.definition import Split, Splits
from algoperf.prepared import Preparation

DEFINITION = registry.definition("criteo1tb")
# 262,144 rows in 0.68 s, the fastest published step.
V100_ROWS_PER_SECOND = 385_000
# Published pipeline, from text, batches of 8,192 and 65,536: rows/s on two cores.
PUBLISHED_ROWS_PER_SECOND = {8_192: 219_700, 65_536: 284_400}
# Seconds of one evaluation in the published logs, nearly all of them reading text.
PUBLISHED_EVALUATION_SECONDS = 546
EVALUATED_ROWS = 83_361_792 + 83_274_637 + 95_000_000
DAY_ROWS = 40_000


def main() -> None:
    """Writes data, converts and reads them."""
    with tempfile.TemporaryDirectory(prefix="criteo1tb-") as folder:
        conversion(Path(folder))
        reading(Path(folder))


def write_raw(raw: Path) -> None:
    """24 days in the official format, about as long and as compressible as the real."""
    raw.mkdir()
    rng = np.random.default_rng(0)
    values = [f"{number:08x}" for number in rng.integers(0, 2**32, 5_000)]
    lines = []
    for _ in range(DAY_ROWS):
        integers = [str(n) if n % 5 else "" for n in rng.geometric(0.01, 13).tolist()]
        drawn = np.minimum(rng.zipf(1.26, 26), 5_000)
        categories = [values[i - 1] if i != 2 else "" for i in drawn.tolist()]
        lines.append("\t".join([str(int(rng.random() < 0.03)), *integers, *categories]))
    content = ("\n".join(lines) + "\n").encode()
    packed = gzip.compress(content, 6)
    for day in range(prepare.NUM_DAYS):
        (raw / f"day_{day}.gz").write_bytes(packed)
    sizes = [len(text) / DAY_ROWS for text in (content, packed)]
    print("text: {:.0f} B/row, packed {:.0f}; official: 230, 80".format(*sizes))


def conversion(folder: Path) -> None:
    """Rows/s from gzip-packed text to shards: the parts, and the whole."""
    write_raw(folder / "raw")
    path = folder / "raw" / "day_0.gz"
    unpacking = shortest(lambda: LineSource(path).skip(DAY_ROWS), 3)
    print(f"unpacking alone: {DAY_ROWS / unpacking:,.0f} rows/s per core")
    source = LineSource(path)
    blocks = []
    while (block := source.take(DAY_ROWS))[1]:
        blocks.append(block[0])

    def parse() -> None:
        for block in blocks:
            reader.pack(*text.parse(block, "day_0.gz", 1))

    parsing = shortest(parse, 5)
    print(f"parsing and hashing: {DAY_ROWS / parsing:,.0f} rows/s per core")
    rows = prepare.NUM_DAYS * DAY_ROWS
    splits = Splits(rows - DAY_ROWS, 0, DAY_ROWS // 2, DAY_ROWS // 2)
    cpu, wall = time.process_time(), time.perf_counter()
    with Preparation(
        folder / "criteo1tb", dataset="criteo1tb", format_version=reader.FORMAT_VERSION
    ) as preparation:
        prepare.prepare(folder / "raw", preparation, splits=splits)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"conversion: {rows / cpu:,.0f} rows/s per core (goal 300,000), ", end="")
    print(f"{rows / wall:,.0f} rows/s in {os.cpu_count()} threads")
    print(f"size: {reader.ROW_BYTES} B/row (goal 160)")


def reading(folder: Path) -> None:
    """Rows/s from shards in the page cache, by one thread."""
    rows = prepare.NUM_DAYS * DAY_ROWS
    splits = Splits(rows - DAY_ROWS, DAY_ROWS, DAY_ROWS // 2, DAY_ROWS // 2)
    for batch_size in (8_192, 65_536, 262_144):
        floors = copying_speeds(folder / "criteo1tb", batch_size)
        orders: dict[str, dict[str, object]] = {
            "train": {},
            "train, blocks of 1,024 rows shuffled": {"shuffle_block_rows": 1_024},
            "train, blocks of 64 rows shuffled": {"shuffle_block_rows": 64},
            "train, exact ids": {"exact_ids": True},
        }
        for name, changes in orders.items():
            speed = reading_speed(folder, splits, "train", batch_size, changes)
            print(f"{name}, batch {batch_size:,}: {said(speed, floors)}", end="")
            published = PUBLISHED_ROWS_PER_SECOND.get(batch_size)
            print(f", {speed / published:.0f} x published" if published else "")
    batch_size = DAY_ROWS // 4
    floors = copying_speeds(folder / "criteo1tb", batch_size)
    speed = reading_speed(folder, splits, "eval_train", batch_size, {})
    print(f"evaluation, batch {batch_size:,}: {said(speed, floors)}")
    seconds = EVALUATED_ROWS / speed
    print(f"reading all three splits: {seconds:.1f} s by one core, ", end="")
    print(f"{seconds / PUBLISHED_EVALUATION_SECONDS:.3f} of a published evaluation")


def said(speed: float, floors: tuple[float, float]) -> str:
    """A speed in rows/s, beside the floors and what training consumes."""
    return (
        f"{speed / 1e6:.1f} M rows/s, {speed / floors[0]:.2f} of copying mapped files, "
        f"{speed / floors[1]:.2f} if their pages were mapped before, "
        f"{speed / V100_ROWS_PER_SECOND:.0f} x 8 V100"
    )


def copying_speeds(folder: Path, batch_size: int) -> tuple[float, float]:
    """Rows/s of copying batches, one after the other, out of mapped files.

    The first is of files that are mapped anew in each pass, as a reader of data that
    are larger than its memory meets them; the second of pages that are mapped already.
    """
    paths = sorted(folder.glob("day_*_00.bin"))

    def mapped() -> list[np.ndarray]:
        return [np.asarray(np.memmap(path, np.uint8, "r")) for path in paths]

    files = mapped()
    rows = sum(map(len, files)) / reader.ROW_BYTES
    num_bytes = batch_size * reader.ROW_BYTES
    anew = shortest(lambda: copy_batches(mapped(), num_bytes), 5)
    return rows / anew, rows / shortest(lambda: copy_batches(files, num_bytes), 5)


def copy_batches(files: list[np.ndarray], num_bytes: int) -> None:
    """Copies the files' bytes into one new array after the other."""
    batch, filled = np.empty(num_bytes, np.uint8), 0
    for content in files:
        first = 0
        while first < len(content):
            length = min(len(content) - first, num_bytes - filled)
            batch[filled : filled + length] = content[first : first + length]
            filled, first = filled + length, first + length
            if filled == num_bytes:
                batch, filled = np.empty(num_bytes, np.uint8), 0


def reading_speed(
    folder: Path,
    splits: Splits,
    split: Split,
    batch_size: int,
    changes: dict[str, object],
) -> float:
    data = registry.module("workloads", "criteo1tb", "data")
    config = dataclasses.replace(DEFINITION.data, **changes)
    request = pipeline.DataRequest(
        folder / "criteo1tb",
        split,
        splits,
        batch_size,
        seed=0,
        config=config,
    )
    batches = data.open_batches(request)
    number = batches.num_batches or max(3, 900_000 // batch_size)

    def read() -> None:
        for index in range(number):
            batches.batch(index)

    return number * batch_size / shortest(read, 5)


if __name__ == "__main__":
    main()
