"""Batches as pure functions of their index, and the queue that reads them ahead.

The unit of work is the batch: `Batches.batch(i)` depends on nothing but the request and `i`, so
that a position in the data is one integer, resuming is exact by construction, and both
frameworks and any number of processes see the same examples in the same order.
"""

import concurrent.futures
import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from algoperf.backend import Arrays
from algoperf.definition import Split, Splits
from algoperf.errors import AlgoPerfError, BadData, BadSettings

_MONOTONIC = time.perf_counter  # taken before a submission is loaded


@dataclass(frozen=True)
class DataRequest:
    """Which batches of which data: everything that a workload's data.py may depend on."""

    folder: Path  # prepared data
    split: Split
    splits: Splits
    batch_size: int  # global
    seed: int
    config: Any = None  # the definition's `data`
    shard: int = 0  # this process's part of every global batch …
    num_shards: int = 1  # … of so many equal parts
    drop_last: bool = False  # what does not fill a batch, of each epoch or pass

    @property
    def is_training(self) -> bool:
        """Whether batches repeat without end in an order drawn from the seed."""
        return self.split == "train"

    def shard_rows(self) -> slice:
        """The rows of a global batch that this process reads."""
        rows = self.batch_size // self.num_shards
        return slice(self.shard * rows, (self.shard + 1) * rows)


class Batches(Protocol):
    """What `data.open_batches(request)` of a workload returns.

    Batches that share their work among threads of their own have `threads`, a set, and
    `close()`, which ends them. Those with `is_at_hand` are not worth a thread that reads ahead.
    """

    num_batches: int | None  # of one pass; None for endless training batches

    def batch(self, index: int) -> Arrays:
        """This process's part of global batch `index`: a pure function of `index`.

        May be called from several threads at once. Evaluation batches all have the same
        shapes; padded rows have weight 0 in `weights`.
        """
        ...


def epoch_order(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch visits its examples: a permutation, int64 [num_examples]."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch))))
    return rng.permutation(num_examples)


def num_batches(request: DataRequest, num_examples: int) -> int | None:
    """Batches of one pass over the examples; None for endless training batches."""
    if request.is_training:
        return None
    full = num_examples // request.batch_size
    return full if request.drop_last else -(-num_examples // request.batch_size)


def chosen_examples(request: DataRequest, num_stored: int, seed: int) -> np.ndarray:
    """The examples of the split among those that its files hold, in order: int64 [n].

    All of them; for eval_train a choice of training examples that is drawn with `seed`,
    the workload's own, so that it is the same in every run.
    """
    if request.split != "eval_train":
        return np.arange(num_stored)
    return epoch_order(num_stored, seed, 0)[: request.splits.eval_train]


class EpochOrder:
    """An endless stream of examples: every epoch has all of them, in an order of its own.

    Or so many of them as `multiple_of` divides: the last of its order are left out.
    """

    def __init__(self, num_examples: int, seed: int, *, multiple_of: int = 1) -> None:
        self._length = num_examples // multiple_of * multiple_of
        if not self._length:
            raise BadSettings(
                f"A batch of {multiple_of} examples is larger than the {num_examples} "
                "training examples, of which each epoch takes full batches. Return a "
                "smaller batch size from get_batch_size."
            )
        self._order = functools.lru_cache(maxsize=4)(
            functools.partial(epoch_order, num_examples, seed)
        )

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The examples at positions of the stream, and their epochs: int64 [n] each."""
        epochs, offsets = np.divmod(positions, self._length)
        ids = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            is_in = epochs == epoch
            ids[is_in] = self._order(int(epoch))[offsets[is_in]]
        return ids, epochs


class ExampleBatches:
    """Batches of data whose examples can be read one by one, in any order.

    `read(example_ids, epochs)` gets int64 arrays of equal length and returns a dict of arrays
    with that leading axis. `epochs` lets augmentation differ from epoch to epoch; it is 0 in
    evaluation. Training batches run on across the end of an epoch, so every batch is full and
    a batch may be larger than a small data set; unless the request drops what does not fill a
    batch.
    """

    def __init__(
        self,
        request: DataRequest,
        read: Callable[[np.ndarray, np.ndarray], Arrays],
        *,
        num_examples: int | None = None,
    ) -> None:
        self._request = request
        self._read = read
        self._size = num_examples or request.splits.size(request.split)
        multiple_of = request.batch_size if request.drop_last else 1
        self._stream = (
            EpochOrder(self._size, request.seed, multiple_of=multiple_of)
            if request.is_training
            else None
        )
        self.num_batches = num_batches(request, self._size)

    def batch(self, index: int) -> Arrays:
        """See `Batches.batch`."""
        first = index * self._request.batch_size
        rows = self._request.shard_rows()
        positions = np.arange(first + rows.start, first + rows.stop)
        if self._stream is not None:
            return self._read(*self._stream.at(positions))
        real = positions[positions < self._size]
        batch = self._read(real, np.zeros_like(real))
        return pad_rows(batch, len(positions))


def pad_rows(batch: Arrays, num_rows: int) -> dict[str, np.ndarray]:
    """Zero rows appended up to `num_rows`; `weights` float32 [num_rows] is 0 for them.

    Weights that the batch already has are kept for its real rows.
    """
    num_real = len(next(iter(batch.values())))
    weights = batch.get("weights", np.ones(num_real, np.float32))
    padded = {**batch, "weights": weights}
    missing = num_rows - num_real
    if not missing:
        return padded
    return {
        key: np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])
        for key, rows in padded.items()
    }


class _AtOnce(concurrent.futures.Executor):
    """Does what it is given before it returns, in the thread that asks."""

    def submit(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[Any]:
        """See `Executor.submit`."""
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


class InputQueue(Iterator[Any]):
    """Draws placed batches in order while a small pool reads the next ones.

    Batches that are at hand are read when they are drawn, without a pool. `position` is the
    number of batches drawn: saving it and opening a queue at `start` with it continues
    exactly. `wait_seconds` adds up how long somebody waited for a batch that was not read yet.
    """

    def __init__(
        self,
        batches: Batches,
        place: Callable[[Arrays], Any],
        *,
        start: int = 0,
        num_workers: int = 2,
        num_ahead: int = 4,
    ) -> None:
        self.position = start
        self.wait_seconds = 0.0
        self.failure: BaseException | None = None  # what reading has raised
        self._batches = batches
        self._place = place
        is_at_hand = getattr(batches, "is_at_hand", False)
        self._num_ahead = 1 if is_at_hand else num_ahead
        self._next = start
        self._pending: deque[concurrent.futures.Future[Any]] = deque()
        self._threads: set[threading.Thread] = set()
        self._pool: concurrent.futures.Executor = (
            _AtOnce()
            if is_at_hand
            else concurrent.futures.ThreadPoolExecutor(
                num_workers,
                thread_name_prefix="algoperf-input",
                initializer=lambda: self._threads.add(threading.current_thread()),
            )
        )

    @property
    def threads(self) -> frozenset[threading.Thread]:
        """The threads that read ahead; they are the harness's, not the submission's.

        Batches may have threads of their own that share the work on each.
        """
        return frozenset(self._threads) | getattr(self._batches, "threads", frozenset())

    def _fill(self) -> None:
        limit = self._batches.num_batches
        while len(self._pending) < self._num_ahead and (
            limit is None or self._next < limit
        ):
            self._pending.append(self._pool.submit(self._load, self._next))
            self._next += 1

    def _load(self, index: int) -> object:
        try:
            return self._place(self._batches.batch(index))
        except AlgoPerfError:
            raise
        except Exception as error:
            raise BadData(
                f"Batch {index} could not be read: {type(error).__name__}: {error}."
            ) from error

    def __next__(self) -> object:
        self._fill()
        if not self._pending:
            raise StopIteration
        first = self._pending[0]
        if not first.done():
            began = _MONOTONIC()
            concurrent.futures.wait((first,))
            self.wait_seconds += _MONOTONIC() - began
        try:
            batch = first.result()  # an error stays: no batch is ever skipped
        except BaseException as error:
            self.failure = error
            raise
        self._pending.popleft()
        self.position += 1
        self._fill()
        return batch

    def close(self) -> None:
        """Stops reading ahead; waits for reads that have begun.

        Batches that hold threads or open files have a `close` too.
        """
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
        if hasattr(self._batches, "close"):
            self._batches.close()
