"""Speed of finewebedu_lm's data, and memory of its loss, beside their floors.

    python benchmarks/lm.py            # all parts, in two minutes on a quiet core
    python benchmarks/lm.py tokens     # one of: tokens prepare reading memory order loss

Times are processor time, but those of `prepare`. The text is Jane Austen's novels; the chunks
that are read are made up, 1 GB of them in files. Steps of the model: `benchmarks/step.py`.
"""

import argparse
import collections
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measuring import print_memory, resident_bytes, shortest

from algoperf import pipeline, registry
from algoperf.datasets.fineweb_edu import documents, novels, prepare, reader, tokenizer
from algoperf.definition import Splits
from algoperf.prepared import Preparation
from algoperf.spec import LossType
from algoperf.workloads.finewebedu_lm import data
from algoperf.workloads.finewebedu_lm.definition import DataConfig

DEFINITION = registry.definition("finewebedu_lm")
BATCH_SIZE = DEFINITION.default_batch_size
PUBLISHED_CHUNKS_PER_SECOND = 64 / 0.386  # training on 4 x A100, the faster framework
PAGE_CHARACTERS = 4_700  # about 1,000 tokens, as long as the mean document
NUM_CHUNKS = 500_000


def pages() -> list[str]:
    """The novels, in pages as long as a document of FineWeb-Edu."""
    texts = ["\n".join(novels.chapters(text)) for text in novels.read().values()]
    return [
        text[first : first + PAGE_CHARACTERS]
        for text in texts
        for first in range(0, len(text), PAGE_CHARACTERS)
    ]


def benchmark_tokens() -> None:
    """Encoding documents one by one, as the preparation does."""
    encoder = tokenizer.Tokenizer(tokenizer.gpt2_merges())
    texts = pages()
    num_tokens = sum(len(encoder.encode(text)) for text in texts)
    took = shortest(lambda: [encoder.encode(text) for text in texts], 5)
    print(
        f"tokens: {num_tokens / took / 1e6:.2f} M/s of one core (goal 1 M); "
        f"{sum(map(len, texts)) / num_tokens:.2f} characters a token"
    )


def benchmark_prepare(repeats: int = 5) -> None:
    """A whole preparation: Parquet files to verified chunks."""
    arrow, parquet = documents.pyarrow()
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        raw.mkdir()
        table = arrow.table({"text": pages() * repeats})
        parquet.write_table(table, raw / "000_00000.parquet", row_group_size=1_000)
        num_chunks = int(0.895 * 210 * len(table) / 206)
        splits = Splits(train=num_chunks, eval_train=1, validation=50, test=0)
        begun, begun_cpu = time.perf_counter(), time.process_time()
        with Preparation(
            Path(folder) / "out", dataset=reader.DATASET, format_version=1
        ) as preparation:
            prepare.prepare(raw, preparation, splits=splits)
        wall, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
        num_tokens = num_chunks * 1_025 / 0.895
    print(
        f"prepare: {len(table):,} documents, about {num_tokens / 1e6:.1f} M tokens, in "
        f"{wall:.1f} s, {cpu:.1f} s of processor time: {num_tokens / cpu / 1e6:.2f} M/s; "
        f"the full set would take {10e9 / num_tokens * cpu / 3600:.1f} core-hours"
    )


def made_up_chunks(folder: Path, number: int = NUM_CHUNKS) -> reader.Chunks:
    """Prepared data of so many training chunks in shards of the usual size."""
    rng = np.random.default_rng(0)
    shard_chunks = prepare._SHARD_CHUNKS
    shards = []
    for index, first in enumerate(range(0, number, shard_chunks)):
        rows = min(shard_chunks, number - first)
        path = folder / reader.shard_name("train", index)
        np.save(path, rng.integers(0, 50_257, (rows, 1_025), np.uint16))
        shards.append(np.asarray(np.load(path, mmap_mode="r")))
    return reader.Chunks(tuple(shards), shard_chunks, 1_025)


def benchmark_reading(number: int = 400) -> None:
    """Training batches a second, beside gathering rows of one mapped file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chunks = made_up_chunks(folder)
        together = np.lib.format.open_memmap(
            folder / "one.npy", "w+", np.uint16, (NUM_CHUNKS, 1_025)
        )
        place = 0
        for shard in chunks.shards:
            together[place : place + len(shard)] = shard
            place += len(shard)
        splits = Splits(train=NUM_CHUNKS, eval_train=1, validation=1, test=0)
        request = pipeline.DataRequest(
            folder, "train", splits, BATCH_SIZE, seed=0, config=DataConfig()
        )
        batches = pipeline.ExampleBatches(request, data.reader_of(request, chunks))
        order = pipeline.epoch_order(NUM_CHUNKS, 0, 0)
        ids = [order[BATCH_SIZE * i : BATCH_SIZE * (i + 1)] for i in range(number)]
        plain = np.asarray(together)

        def wide(index: int) -> tuple[np.ndarray, np.ndarray]:
            tokens = plain[ids[index]]
            return tokens[:, :-1].astype(np.int32), tokens[:, 1:].astype(np.int32)

        took = seconds_of(batches.batch, number)
        stored = seconds_of(lambda index: chunks.read(ids[index]), number)
        floor = seconds_of(lambda index: plain[ids[index]], number)
        floor_wide = seconds_of(wide, number)
    rate = number * BATCH_SIZE / took
    print(
        f"reading: {rate:,.0f} chunks/s of one core ({rate * 1_024 / 1e6:,.0f} M tokens/s), "
        f"{1e3 * took / number:.2f} ms a batch of {BATCH_SIZE}; "
        f"{PUBLISHED_CHUNKS_PER_SECOND:,.0f} chunks/s are what 4 x A100 consume: "
        f"{rate / PUBLISHED_CHUNKS_PER_SECOND:,.0f} x; {floor / took:.2f} of the speed of "
        f"gathering rows of one mapped file, {floor_wide / took:.2f} with both int32 arrays "
        f"made; chunks alone {floor / stored:.2f} of gathering rows"
    )


def seconds_of(read: Callable[[int], object], number: int) -> float:
    """Seconds in which batches 0 to `number` are read, the last four of them kept.

    As the queue that reads ahead keeps them. Were each one freed before the next is read,
    the memory would go back to the system every time, and that would be what is measured.
    """

    def run() -> None:
        kept: collections.deque[object] = collections.deque(maxlen=4)
        for index in range(number):
            kept.append(read(index))

    return float(shortest(run))


def benchmark_memory() -> None:
    """Memory after few and after many evaluations' batches."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        chunks = made_up_chunks(folder, 20_000)
        splits = Splits(train=1, eval_train=1, validation=20_000, test=0)
        request = pipeline.DataRequest(
            folder, "validation", splits, 256, seed=0, config=DataConfig()
        )
        batches = pipeline.ExampleBatches(request, data.reader_of(request, chunks))

        def evaluate() -> None:
            for index in range(batches.num_batches or 0):
                batches.batch(index)

        print_memory(evaluate)


def benchmark_order() -> None:
    """The order of an epoch of the full data set: once per epoch, in a reading thread."""
    size = DEFINITION.splits.train
    took = shortest(lambda: pipeline.epoch_order(size, 0, 1), 3)
    print(f"order: {took:.2f} s for {size:,} chunks, {8 * size / 1e6:.0f} MB")


def benchmark_loss() -> None:
    """Peak memory of a loss and its gradients, deferred and with all logits."""
    for framework in ("jax", "pytorch"):
        for how, size in (("deferred", 64), ("deferred", 8), ("at once", 8)):
            command = [sys.executable, __file__, "--loss", framework, how, str(size)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(done.stdout.strip(), flush=True)


def measure_loss(framework: str, how: str, size: int) -> None:
    """A loss of size x 1,024 tokens over 50,257 classes from hidden states of 16."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(size, 1_024, 16)).astype(np.float32)
    table = rng.normal(size=(50_257, 16)).astype(np.float32)
    labels = rng.integers(0, 50_257, (size, 1_024))
    run = {"jax": jax_loss, "pytorch": pytorch_loss}[framework]
    step = run(hidden, table, labels, how == "deferred")
    before = resident_bytes()
    begun = time.process_time()
    step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    took, whole = time.process_time() - begun, size * 1_024 * 50_257 * 4
    print(
        f"loss, batch {size}, {framework}, {how}: {peak / 1e9:.2f} GB more at the peak (all "
        f"logits: {whole / 1e9:.2f} GB); {took:.1f} s of processor time, compilation included"
    )


def jax_loss(
    hidden: np.ndarray, table: np.ndarray, labels: np.ndarray, is_deferred: bool
) -> Callable[[], object]:
    """The step in JAX."""
    import jax

    from algoperf.jax_backend import losses, output_layer

    def objective(hidden: jax.Array, table: jax.Array) -> jax.Array:
        logits = output_layer.logits(hidden, table)
        logits = logits if is_deferred else logits.compute()
        loss: jax.Array = losses.loss(LossType.SOFTMAX_CROSS_ENTROPY, labels, logits)[
            "summed"
        ]
        return loss

    gradient = jax.jit(jax.grad(objective, (0, 1)))
    arrays = jax.device_put((hidden, table))
    return lambda: jax.block_until_ready(gradient(*arrays))


def pytorch_loss(
    hidden: np.ndarray, table: np.ndarray, labels: np.ndarray, is_deferred: bool
) -> Callable[[], object]:
    """The step in PyTorch."""
    import torch

    from algoperf.pytorch_backend import losses, output_layer

    leaves = [torch.tensor(x, requires_grad=True) for x in (hidden, table)]
    targets = torch.tensor(labels)

    def step() -> None:
        logits = output_layer.logits(*leaves)
        logits = logits if is_deferred else logits.compute()
        losses.loss(LossType.SOFTMAX_CROSS_ENTROPY, targets, logits)[
            "summed"
        ].backward()

    return step


PARTS = {
    "tokens": benchmark_tokens,
    "prepare": benchmark_prepare,
    "reading": benchmark_reading,
    "memory": benchmark_memory,
    "order": benchmark_order,
    "loss": benchmark_loss,
}


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--loss", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.loss:
        framework, how, size = options.loss
        measure_loss(framework, how, int(size))
        return
    for part in options.parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
