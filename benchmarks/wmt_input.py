"""Speed of the wmt input pipeline on one core, as ratios to what is measured beside it.

    python benchmarks/wmt_input.py

Sentences are made up: 5,906,184 pairs to plan epochs of, 1,000,000 of them with tokens,
in files. The yardsticks are copying a batch's arrays, gathering its tokens alone, and
what 8 x V100 consume.
"""

import functools
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import shortest

from algoperf import pipeline, registry
from algoperf.backend import Arrays
from algoperf.datasets.wmt import reader
from algoperf.definition import Split
from algoperf.workloads.wmt import data
from algoperf.workloads.wmt.packing import Rows, buffered_order

DEFINITION = registry.definition("wmt")
NUM_PAIRS = DEFINITION.splits.train
NUM_STORED = 1_000_000
BATCH_SIZE = DEFINITION.default_batch_size
PUBLISHED_ROWS_PER_SECOND = 128 / 0.358  # training on 8 x V100, published logs
MAX_LENGTH = DEFINITION.data.max_length


def made_up_lengths(num_pairs: int) -> np.ndarray:
    """Tokens of German and English: mean about 31 and 29, long tail; int32 [2, pairs]."""
    rng = np.random.default_rng(0)
    common = rng.normal(3.2, 0.6, num_pairs)
    sides = [np.exp(common + rng.normal(mean, 0.15, num_pairs)) for mean in (0.05, 0.0)]
    return np.stack(sides).clip(2, 400).astype(np.int32)


def made_up_pairs(folder: Path) -> reader.Pairs:
    """Pairs whose tokens lie in files."""
    rng = np.random.default_rng(1)
    sides = {}
    for side, lengths in zip(reader.SIDES, made_up_lengths(NUM_STORED), strict=True):
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        tokens = rng.integers(3, 32_000, offsets[-1], np.uint16)
        arrays = {"tokens": tokens, "offsets": offsets}
        for kind, array in arrays.items():
            np.save(folder / f"{side}-{kind}.npy", array)
            stored = np.load(folder / f"{side}-{kind}.npy", mmap_mode="r")
            arrays[kind] = np.asarray(stored)
        sides[side] = reader.Sentences(**arrays)
    return reader.Pairs(**sides)


def request(split: Split) -> pipeline.DataRequest:
    """Of full-size batches."""
    return pipeline.DataRequest(
        Path(), split, DEFINITION.splits, BATCH_SIZE, seed=0, config=DEFINITION.data
    )


def benchmark_planning() -> None:
    """Shuffling and packing an epoch of the full data set; no tokens are read."""
    lengths = made_up_lengths(NUM_PAIRS)
    lengths = np.ascontiguousarray(lengths[:, (lengths <= MAX_LENGTH).all(axis=0)])
    num_pairs = lengths.shape[1]
    order = functools.partial(
        buffered_order, num_pairs, DEFINITION.data.shuffle_buffer, 0
    )
    shuffled = shortest(lambda: order(0), 3)
    rows = Rows(lengths, MAX_LENGTH, order)
    start = time.process_time()
    rows.pairs(0, BATCH_SIZE)
    first = time.process_time() - start
    # Longer than an epoch: about 8 pairs make a row.
    start = time.process_time()
    last = num_pairs // 5
    counts = rows.pairs(0, last)[1]
    planned = (time.process_time() - start) * num_pairs / counts.sum()
    print(
        f"planning {num_pairs:,} pairs: {planned:.2f} s an epoch, {shuffled:.2f} s of "
        f"them for the shuffle buffer; first rows after {first:.2f} s; "
        f"{counts.mean():.2f} pairs a row"
    )


def benchmark_training(pairs: reader.Pairs, number: int = 200) -> None:
    """Packed rows a second, planning apart, beside gathering and copying."""
    batches = data.PackedBatches(request("train"), pairs)
    first, made = batches.batch(0), range(number)
    for index in made:
        batches.batch(index)
    took = shortest(lambda: [batches.batch(index) for index in made])
    num_tokens = int((first["inputs"] > 0).sum()), int((first["targets"] > 0).sum())
    rng = np.random.default_rng(2)
    places = [rng.integers(0, 10_000_000) + np.arange(size) for size in num_tokens]
    sides = pairs.inputs, pairs.targets

    def gather() -> None:
        for _ in made:
            for side, place in zip(sides, places, strict=True):
                side.tokens[place]

    fill = float((first["inputs"] > 0).mean())
    report("train, packed rows", number * BATCH_SIZE / took, first, took / number)
    print(
        f"  {PUBLISHED_ROWS_PER_SECOND:.0f} rows/s are what 8 x V100 consume: "
        f"{number * BATCH_SIZE / took / PUBLISHED_ROWS_PER_SECOND:.0f} x on this core; "
        f"rows are {100 * fill:.0f} % full; {shortest(gather) / took:.2f} of the speed of "
        "gathering the tokens alone"
    )


def benchmark_evaluation(pairs: reader.Pairs) -> None:
    """Padded pairs a second."""
    batches = data.evaluation_batches(request("validation"), pairs)
    made = range(24)
    took = shortest(lambda: [batches.batch(index) for index in made])
    rate = len(made) * BATCH_SIZE / took
    report("evaluation, pairs", rate, batches.batch(0), took / len(made))


def report(what: str, rate: float, batch: Arrays, took: float) -> None:
    """The rate, and how it compares to copying the batch's arrays; took: of one batch."""
    arrays = [np.asarray(array) for array in batch.values()]
    copied = shortest(lambda: [[x.copy() for x in arrays] for _ in range(50)]) / 50
    print(
        f"{what}: {rate:,.0f}/s of one core, {1e3 * took:.2f} ms a batch of {BATCH_SIZE} "
        f"({sum(a.nbytes for a in arrays) / 1e6:.2f} MB); {copied / took:.2f} of the "
        "speed of copying the arrays"
    )


def main() -> None:
    """Runs all parts."""
    benchmark_planning()
    with tempfile.TemporaryDirectory() as folder:
        pairs = made_up_pairs(Path(folder))
        benchmark_training(pairs)
        benchmark_evaluation(pairs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of the process {peak:.2f} GB, made-up sentences included")


if __name__ == "__main__":
    main()
