"""Which pairs stand in which row: the published shuffle buffer and packing rule.

Both need the pairs' lengths only. They are computed for many pairs at once, in numpy,
when a batch first asks for them, and remembered: so a batch is a function of its number.
To begin in the middle, the row counts of what lies before must be planned too: about
0.4 s for an epoch of the full data (benchmarks/wmt_input.py).
"""

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GROUP = 256  # pairs: a row never holds pairs of two groups (published rule)
_MIN_GROUPS, _MAX_GROUPS = 64, 8_192  # that are planned at once


def buffered_order(num_pairs: int, buffer: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: a permutation, int32 [num_pairs], nearly the stored order.

    As if `buffer` pairs were kept in memory, and one of them at random handed out and
    replaced by the next one, until all are. What a slot of that buffer hands out is what
    it was given when it was last chosen, so that no loop over the pairs is needed.
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch))))
    buffer = min(buffer, num_pairs)
    # The smallest type: numpy sorts small integers in linear time.
    slot_type = np.min_scalar_type(buffer)
    slots = rng.integers(0, buffer, num_pairs - buffer).astype(slot_type)
    times = np.argsort(slots, kind="stable").astype(np.int32)
    sorted_slots = slots[times]
    is_first = np.ones(len(times), bool)
    is_first[1:] = sorted_slots[1:] != sorted_slots[:-1]
    given = np.empty(len(times), np.int32)
    given[is_first] = sorted_slots[is_first]
    given[~is_first] = times[:-1][~is_first[1:]] + buffer
    order = np.empty(num_pairs, np.int32)
    order[times] = given
    left = np.arange(buffer, dtype=np.int32)
    is_last = np.roll(is_first, -1)
    left[sorted_slots[is_last]] = times[is_last] + buffer
    order[len(times) :] = rng.permutation(left)
    return order


def row_starts(lengths: np.ndarray, room: int) -> np.ndarray:
    """Whether each pair begins a row: bool [groups, pairs of a group].

    lengths: int [sides, groups, pairs of a group], each at most `room`. The published
    rule: pairs go into a row in their order as long as both sides fit; then, and at the
    end of the group, the row is finished.
    """
    by_place = np.ascontiguousarray(lengths.transpose(2, 0, 1))
    starts = np.empty((lengths.shape[2], lengths.shape[1]), bool)
    used = np.full(by_place.shape[1:], room, by_place.dtype)
    # All groups take their n-th pair at the same time.
    for place, sizes in enumerate(by_place):
        used += sizes
        is_full = (used > room).any(axis=0)
        used[:, is_full] = sizes[:, is_full]
        starts[place] = is_full
    return starts.T


@dataclass(frozen=True)
class _Block:
    """The rows of several groups. Row i has `pairs[starts[i] : starts[i + 1]]`."""

    pairs: np.ndarray  # int32 [pairs]
    starts: np.ndarray  # int64 [rows + 1]


class Rows:
    """The endless rows of a stream of pairs that begins anew after each epoch.

    lengths: int32 [sides, pairs], tokens of each pair, at most `room`.
    `order(epoch)` is the epoch's permutation of the pairs. Groups run on across the end
    of an epoch. Safe to use from several threads.
    """

    def __init__(
        self, lengths: np.ndarray, room: int, order: Callable[[int], np.ndarray]
    ) -> None:
        self._lengths = lengths
        self._room = room
        self._num_pairs = lengths.shape[1]
        groups = np.clip(self._num_pairs // GROUP, _MIN_GROUPS, _MAX_GROUPS)
        self._block_pairs = int(groups) * GROUP
        self._order = functools.lru_cache(2)(order)
        self._block = functools.lru_cache(3)(self._plan)
        self._ends: list[int] = []  # number of rows up to the end of each block
        self._lock = threading.Lock()

    def pairs(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of rows `first` to `last` (not included), int32 [pairs], row by row.

        Also how many each row has, int64 [rows].
        """
        pairs, counts = [], []
        while first < last:
            block, begin = self._find(first)
            rows = slice(first - begin, min(last - begin, len(block.starts) - 1))
            starts = block.starts[rows.start : rows.stop + 1]
            pairs.append(block.pairs[starts[0] : starts[-1]])
            counts.append(np.diff(starts))
            first = begin + rows.stop
        return np.concatenate(pairs), np.concatenate(counts)

    def _find(self, row: int) -> tuple[_Block, int]:
        """The block that holds a row, and the number of the block's first row."""
        with self._lock:
            while not self._ends or self._ends[-1] <= row:
                rows = len(self._block(len(self._ends)).starts) - 1
                self._ends.append((self._ends or [0])[-1] + rows)
            index = int(np.searchsorted(self._ends, row, side="right"))
            return self._block(index), self._ends[index - 1] if index else 0

    def _plan(self, index: int) -> _Block:
        first = index * self._block_pairs
        pairs = self._stream(first, first + self._block_pairs)
        lengths = self._lengths[:, pairs].reshape(len(self._lengths), -1, GROUP)
        starts = np.flatnonzero(row_starts(lengths, self._room))
        return _Block(pairs, np.append(starts, len(pairs)))

    def _stream(self, first: int, last: int) -> np.ndarray:
        """The pairs at positions `first` to `last` of the endless stream."""
        parts = []
        while first < last:
            epoch, offset = divmod(first, self._num_pairs)
            parts.append(self._order(epoch)[offset : offset + last - first])
            first += len(parts[-1])
        return np.concatenate(parts)
