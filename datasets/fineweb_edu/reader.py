"""The prepared text: fixed-length chunks of tokens, mapped into memory."""

import functools
from dataclasses import dataclass

import numpy as np

from algoperf.definition import Split, materialised
from algoperf.prepared import PreparedData

DATASET = "fineweb_edu"
FORMAT_VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
TOKENIZER = "vocab.bpe"
TOKEN = np.dtype(np.uint16)


def shard_name(split: Split, index: int) -> str:
    """The file that holds one run of a split's chunks."""
    return f"{split}-{index:05d}.npy"


def offsets_name(split: Split) -> str:
    """The file that says where each document of a split begins."""
    return f"{split}-documents.npy"


@dataclass(frozen=True)
class Chunks:
    """The chunks of one split: uint16 [chunks, chunk_length] in shards.

    All documents of the split stand one behind the other, each with the end-of-text
    token behind it, and are cut into chunks that do not overlap. Every shard but the
    last holds `shard_chunks` chunks.
    """

    shards: tuple[np.ndarray, ...]
    shard_chunks: int
    chunk_length: int

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    def read(self, ids: np.ndarray) -> np.ndarray:
        """The chunks with these numbers, uint16 [len(ids), chunk_length]; a copy."""
        # A batch has few chunks of each shard, so indexing arrays would be three times as
        # slow as joining slices of bytes.
        size = TOKEN.itemsize * self.chunk_length
        shards, rows = np.divmod(ids, self.shard_chunks)
        starts = (size * rows).tolist()
        pieces = (
            self._bytes[shard][start : start + size]
            for shard, start in zip(shards.tolist(), starts, strict=True)
        )
        joined = np.frombuffer(bytearray().join(pieces), TOKEN)
        return joined.reshape(len(ids), self.chunk_length)

    @functools.cached_property
    def _bytes(self) -> list[memoryview]:
        return [shard.data.cast("B") for shard in self.shards]


def read_split(data: PreparedData, split: Split) -> Chunks:
    """The chunks of a split; nothing is read from disk until it is used.

    `eval_train` is the first training chunks, so it reads the train files.
    """
    stored = materialised(split)
    shard_chunks, length = (
        data.fact(name, int) for name in ("shard_chunks", "chunk_length")
    )
    count = data.counts[stored]
    names = [shard_name(stored, i) for i in range(-(-count // max(shard_chunks, 1)))]
    shards = tuple(map(data.array, names))
    sizes = [shard_chunks] * (len(names) - 1) + [
        count - (len(names) - 1) * shard_chunks
    ]
    if [shard.shape for shard in shards] != [(n, length) for n in sizes[: len(names)]]:
        raise data.incomplete(stored, f"chunks of {length:,} tokens")
    return Chunks(shards, shard_chunks, length)


def document_offsets(data: PreparedData, split: Split) -> np.ndarray:
    """Where each document begins among the tokens of a split: int64 [documents + 1].

    The last entry is the number of tokens, at which the last document is cut off.
    Models of this benchmark read across documents, and do not need it.
    """
    return data.array(offsets_name(split))
