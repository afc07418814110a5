"""Raw Parquet files -> chunks of tokens.

The names that every data set's prepare.py has are explained in
`datasets/mnist/prepare.py`. There is no `download`: the files are the user's to get.

Two passes: every block of rows is tokenised into a folder that is deleted at the end
(see `tokens`); then documents are shuffled, assigned to splits, and cut into chunks.
"""

import concurrent.futures
import functools
import hashlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, Splits
from algoperf.download import Progress, no_progress
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from . import novels, tokenizer
from .documents import RAW_HELP, Block, blocks_of, find_files
from .packing import Corpus, Stream, shuffled
from .reader import FORMAT_VERSION, SPLITS, TOKENIZER, offsets_name, shard_name
from .tokens import TokenFolder

__all__ = [
    "FORMAT_VERSION",
    "PACKAGES",
    "RAW_HELP",
    "expand_embedded",
    "prepare",
    "space_needed",
]

PACKAGES = ("pyarrow", "tiktoken")

_BLOCK_ROWS = 20_000
_SHARD_CHUNKS = 65_536  # 134 MB
_TRAIN_SHARE = 0.9  # of the documents, where the raw files know no splits
# Of the whole data set (estimated): 9 billion training tokens, 0.1 billion of validation,
# 10 million offsets; and, while it is prepared, 10 billion tokens of all documents.
_FULL_BYTES = 18_300_000_000
_FULL_SCRATCH_BYTES = 20_500_000_000
_SPACE_FACTOR = 1.6  # bytes of tokens for each packed byte of text, at most


def expand_embedded(raw: Path) -> None:
    """Writes Jane Austen's novels as Parquet files, one for each split.

    See embedded/NOTICE for their source and licence.
    """
    novels.expand(raw)


def space_needed(raw: Path | None, subset: int | None = None) -> int:
    """Bytes of the prepared data and of the tokens of the first pass, estimated."""
    del subset  # taken for the whole
    packed = math.inf
    if raw is not None:
        packed = sum(map(input_files.size_bytes, find_files(raw)))
    parts = (_FULL_BYTES, _FULL_SCRATCH_BYTES)
    return int(sum(min(part, _SPACE_FACTOR * packed) for part in parts))


def prepare(
    raw: Path,
    preparation: Preparation,
    *,
    splits: Splits,
    subset: int | None = None,
    progress: Progress = no_progress,
) -> None:
    """Writes chunks and offsets of documents of each split.

    A file whose name begins with `train-`, `validation-` or `test-` belongs to that
    split. Without any such file the documents are split: shuffled, those that fill
    `splits.train` chunks are train (90 % of the official ones), those after them
    validation; no document is in both.
    """
    merges = tokenizer.load_merges(raw / TOKENIZER)
    length = tokenizer.chunk_length(merges)
    files = find_files(raw)
    preparation.identify(
        raw_bytes={str(p.relative_to(raw)): input_files.size_bytes(p) for p in files},
        tokenizer=hashlib.sha256(merges).hexdigest(),
        chunks={split: splits.size(split) for split in SPLITS},
    )
    counts: dict[Split, int] = {
        split: min(splits.size(split), subset or splits.size(split)) for split in SPLITS
    }
    scratch = TokenFolder(preparation.destination / ".tokens")
    first_pass = _Tokenising(scratch, tokenizer.Tokenizer(merges), progress)
    needed = 2 * length * sum(counts.values()) if subset else None
    streams = _streams(files, counts, length, first_pass, needed)
    for split, stream in streams.items():
        _check_size(split, stream.num_tokens // length, counts[split], raw)
    if subset is None:
        _check_share(streams, splits, length, raw)
    if not preparation.has(TOKENIZER):
        with preparation.part(TOKENIZER) as path:
            path.write_bytes(merges)
    for split, stream in streams.items():
        _write_split(preparation, split, stream, counts[split], length, progress)
    scratch.remove()
    facts = {
        "vocab_size": first_pass.tokenizer.vocab_size,
        "chunk_length": length,
        "shard_chunks": _SHARD_CHUNKS,
    }
    preparation.finish({split: counts[split] for split in SPLITS}, facts)


def _split_of(path: Path) -> Split | None:
    named: list[Split] = [s for s in SPLITS if path.name.startswith(f"{s}-")]
    return named[0] if named else None


def _streams(
    files: list[Path],
    counts: Mapping[Split, int],
    length: int,
    first_pass: "_Tokenising",
    needed: int | None,
) -> dict[Split, Stream]:
    """The documents of each split, in stored order.

    needed: no more tokens than about these are made; None for all.
    """
    by_split: dict[Split | None, list[Path]] = {}
    for path in files:
        by_split.setdefault(_split_of(path), []).append(path)
    if set(by_split) == {None}:
        corpus = first_pass.run(files, needed)
        return _divided(corpus, counts["train"] * length)
    if None in by_split:
        raise BadData(
            f"{by_split[None][0]} belongs to no split, but {files[-1].name} does. Use "
            "the official files alone."
        )
    streams = {}
    for split in SPLITS:
        corpus = first_pass.run(by_split.get(split, []), needed)
        order = shuffled(len(corpus)) if split == "train" else np.arange(len(corpus))
        streams[split] = Stream(corpus, order)
    return streams


def _divided(corpus: Corpus, train_tokens: int) -> dict[Split, Stream]:
    """Train is the first documents in `shuffled` order, validation all after them."""
    order = shuffled(len(corpus))
    boundary = Stream(corpus, order).documents_within(train_tokens)
    return {
        "train": Stream(corpus, order[:boundary]),
        "validation": Stream(corpus, order[boundary:]),
    }


class _Tokenising:
    """The first pass, on all CPUs that this process may use."""

    def __init__(
        self, folder: TokenFolder, tokenizer: tokenizer.Tokenizer, progress: Progress
    ) -> None:
        self.tokenizer = tokenizer
        self._folder = folder
        self._progress = progress
        self._num_blocks = 0  # of earlier calls
        self._lock = threading.Lock()

    def run(self, files: Iterable[Path], needed: int | None) -> Corpus:
        """Tokenises the files, or as much of them as is needed."""
        blocks = [block for path in files for block in blocks_of(path, _BLOCK_ROWS)]
        first = self._num_blocks
        self._num_blocks += len(blocks)
        done, total = 0, sum(block.num_rows for block in blocks)

        def on_rows(rows: int) -> None:
            nonlocal done
            with self._lock:
                done += rows
                self._progress("tokenising documents", done, total)

        def work(number: int, block: Block) -> None:
            if self._folder.has(number):
                on_rows(block.num_rows)
            else:
                self._folder.write(number, block, self.tokenizer, on_rows)

        numbered = list(enumerate(blocks, first))
        if needed is None:
            in_parallel(functools.partial(work, *pair) for pair in numbered)
            return Corpus.of([self._folder.open(number) for number, _ in numbered])
        opened: list[tuple[np.ndarray, np.ndarray]] = []
        for number, block in numbered:
            if sum(len(tokens) for tokens, _ in opened) < needed:
                work(number, block)
                opened.append(self._folder.open(number))
        return Corpus.of(opened)


def in_parallel(tasks: Iterable[Callable[[], None]]) -> None:
    """Runs tasks on as many threads as this process has CPUs; the first error ends all."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _check_size(split: Split, found: int, needed: int, raw: Path) -> None:
    if found < needed:
        raise BadData(
            f"The {split} documents in {raw} fill {found:,} chunks; {needed:,} are "
            "needed. Are all files there? The small shipped text serves "
            f"finewebedu_lm_mini only.\n{RAW_HELP}"
        )


def _check_share(
    streams: Mapping[Split, Stream], splits: Splits, length: int, raw: Path
) -> None:
    """`BadData` where more raw text is there than in the official files, or less."""
    train = streams["train"]
    if "test" in streams:
        if train.num_tokens // length > splits.train:
            raise BadData(
                f"The train documents in {raw} fill {train.num_tokens // length:,} "
                f"chunks; {splits.train:,} are expected. Use the official files alone."
            )
        return
    total = len(train) + len(streams["validation"])
    share = len(train) / max(total, 1)
    if abs(share - _TRAIN_SHARE) > 0.005 + 2 / math.sqrt(max(total, 1)):
        raise BadData(
            f"{splits.train:,} training chunks take {share:.1%} of the {total:,} "
            f"documents in {raw}; they are 90% of the official ones. Files are missing, "
            f"there twice, or of another sample.\n{RAW_HELP}"
        )


def _write_split(
    preparation: Preparation,
    split: Split,
    stream: Stream,
    count: int,
    length: int,
    progress: Progress,
) -> None:
    """Writes the first `count` chunks of the stream in shards, and the offsets."""
    if not preparation.has(offsets_name(split)):
        with preparation.part(offsets_name(split)) as path, path.open("wb") as file:
            np.save(file, stream.offsets(count * length))
    finished = 0
    lock = threading.Lock()

    def write(index: int, first: int, last: int) -> None:
        nonlocal finished
        name = shard_name(split, index)
        if not preparation.has(name):
            tokens = stream.read(first * length, last * length)
            with preparation.part(name) as path, path.open("wb") as file:
                np.save(file, tokens.reshape(-1, length))
        with lock:
            finished += last - first
            progress(f"packing {split}", finished, count)

    firsts = range(0, count, _SHARD_CHUNKS)
    in_parallel(
        functools.partial(write, index, first, min(first + _SHARD_CHUNKS, count))
        for index, first in enumerate(firsts)
    )
