"""Documents to chunks: which are in which split, in which order, cut where."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.pipeline import epoch_order

_ORDER_SEED = 0x66776564


@dataclass(frozen=True)
class Corpus:
    """Tokenised documents, block by block.

    blocks: uint16 [tokens] each; lengths: int32 [documents] of all blocks together;
    counts: documents of each block.
    """

    blocks: Sequence[np.ndarray]
    lengths: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, opened: Sequence[tuple[np.ndarray, np.ndarray]]) -> "Corpus":
        """From tokens and lengths of each block."""
        lengths = [lengths for _, lengths in opened] or [np.empty(0, np.int32)]
        counts = np.array([len(part) for part in lengths], np.int64)
        return cls([tokens for tokens, _ in opened], np.concatenate(lengths), counts)

    def __len__(self) -> int:
        return len(self.lengths)


class Stream:
    """Documents of a corpus one behind the other, in a given order."""

    def __init__(self, corpus: Corpus, order: np.ndarray) -> None:
        """order: int64 [documents of the stream], numbers of documents."""
        self._corpus = corpus
        self._order = order
        self._ends = np.cumsum(corpus.lengths[order], dtype=np.int64)
        ends_of_blocks = np.cumsum(corpus.counts)
        starts = np.cumsum(corpus.lengths, dtype=np.int64) - corpus.lengths
        self._block = np.searchsorted(ends_of_blocks, order, side="right")
        # Of each block's first document; blocks without one are never asked for.
        firsts = np.minimum(ends_of_blocks - corpus.counts, max(len(corpus) - 1, 0))
        self._start = starts[order] - (starts[firsts][self._block] if len(order) else 0)

    def __len__(self) -> int:
        return len(self._order)

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def documents_within(self, num_tokens: int) -> int:
        """How many documents the first `num_tokens` tokens touch."""
        return int(np.searchsorted(self._ends, num_tokens, side="left")) + 1

    def offsets(self, num_tokens: int) -> np.ndarray:
        """Starts of the documents in the first `num_tokens` tokens, then that number."""
        starts = np.concatenate([[0], self._ends])
        return np.append(starts[starts < num_tokens], num_tokens).astype(np.int64)

    def read(self, first: int, last: int) -> np.ndarray:
        """Tokens number `first` to `last` (exclusive): uint16 [last - first]."""
        tokens = np.empty(last - first, np.uint16)
        i = int(np.searchsorted(self._ends, first, side="right"))
        place = first
        while place < last:
            end = int(self._ends[i])
            size = min(end, last) - place
            begin = self._start[i] + int(self._corpus.lengths[self._order[i]])
            begin += place - end
            block = self._corpus.blocks[self._block[i]]
            tokens[place - first : place - first + size] = block[begin : begin + size]
            place, i = place + size, i + 1
        return tokens


def shuffled(num_documents: int) -> np.ndarray:
    """The fixed order of documents in the prepared data: int64 [num_documents]."""
    return epoch_order(num_documents, _ORDER_SEED, 0)
