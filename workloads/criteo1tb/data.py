"""Batches of click logs, in the published order: files shuffled, rows as they lie."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.criteo1tb import reader
from algoperf.errors import BadSettings
from algoperf.prepared import PreparedData

from .definition import EXACT_BUCKETS, DataConfig

# eval_train is the first files of one fixed order, the same rows in every run.
_EVAL_TRAIN_SEED = 0x63726974
_MAX_RUNS = 2**25  # of an epoch's order: about 1 GB of memory


def open_batches(request: pipeline.DataRequest) -> pipeline.Batches:
    """The batches of one split of the prepared data in `request.folder`.

    Each is `inputs` float32 [batch, 39]: ln(1 + x) of 13 integers, at least 0, then
    buckets of 26 categories, whole numbers from 0 to 4e7; `targets` float32 [batch], 0
    or 1; and in evaluation `weights` float32 [batch], 0 for padding.
    """
    config = request.config if request.config is not None else DataConfig()
    data = PreparedData.requested(request, reader)
    files = reader.row_files(data, request.split)
    if request.is_training:
        order = RowOrder(files, config.shuffle_block_rows, seed=request.seed)
    else:
        is_mixed = request.split == "eval_train"
        order = RowOrder(files, seed=_EVAL_TRAIN_SEED if is_mixed else None)
    return RowBatches(request, order, exact_ids=config.exact_ids)


class RowOrder:
    """The rows of an epoch: runs of consecutive rows, shuffled anew for each epoch.

    A run is a file, or a block of at most `block_rows` rows of one. Without a seed,
    every epoch has the order of the logs.
    """

    def __init__(
        self,
        files: Sequence[reader.RowFile],
        block_rows: int | None = None,
        *,
        seed: int | None,
    ) -> None:
        self._files = files
        self._seed = seed
        sizes = np.array([file.num_rows for file in files], np.int64)
        self.num_rows = int(sizes.sum())
        if block_rows is not None and block_rows < 1:
            raise BadSettings(f"shuffle_block_rows is {block_rows}; give 1 or more.")
        step = block_rows or max(sizes, default=1)
        if self.num_rows > step * _MAX_RUNS:
            raise BadSettings(
                f"shuffle_block_rows {block_rows} cuts {self.num_rows:,} rows into too "
                f"many blocks. Give at least {-(-self.num_rows // _MAX_RUNS)}."
            )
        runs_per_file = -(-sizes // step)
        self._file = np.repeat(np.arange(len(files)), runs_per_file)
        ends = np.cumsum(runs_per_file)
        number_in_file = np.arange(ends[-1]) - (ends - runs_per_file)[self._file]
        self._first = number_in_file * step
        self._length = np.minimum(step, sizes[self._file] - self._first)
        self._epoch = functools.lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The runs of an epoch in order, and where in the epoch each ends."""
        if self._seed is None:
            order = np.arange(len(self._length))
        else:
            order = pipeline.epoch_order(len(self._length), self._seed, epoch)
        return order, np.cumsum(self._length[order])

    def rows(
        self, position: int, count: int
    ) -> Iterator[tuple[reader.RowFile, int, int]]:
        """Where the `count` rows from `position` of all epochs on lie.

        Yields file, first row in it, number of rows.
        """
        while count:
            epoch, offset = divmod(position, self.num_rows)
            order, ends = self._epoch(epoch)
            place = int(np.searchsorted(ends, offset, side="right"))
            run, left = order[place], int(ends[place]) - offset
            number = min(left, count)
            first = int(self._first[run] + self._length[run]) - left
            yield self._files[self._file[run]], first, number
            position, count = position + number, count - number


class RowBatches:
    """Implements `pipeline.Batches`; training batches run on across epochs."""

    def __init__(
        self, request: pipeline.DataRequest, order: RowOrder, *, exact_ids: bool
    ) -> None:
        self._request = request
        self._order = order
        self._exact_ids = exact_ids
        self._size = None if request.is_training else request.splits.size(request.split)
        self.num_batches = pipeline.num_batches(
            request, request.splits.size(request.split)
        )

    def batch(self, index: int) -> Arrays:
        """See `pipeline.Batches.batch`."""
        rows = self._request.shard_rows()
        first = index * self._request.batch_size + rows.start
        num_rows = rows.stop - rows.start
        num_real = num_rows
        if self._size is not None:
            num_real = max(0, min(num_rows, self._size - first))
        inputs = np.empty((num_real, reader.NUM_INPUTS), np.float32)
        extras = np.empty(num_real, np.uint16)
        filled = 0
        for file, start, count in self._order.rows(first, num_real):
            part = slice(filled, filled + count)
            file.read(start, inputs[part], extras[part])
            filled += count
        if self._exact_ids:
            exact = reader.exact_buckets(inputs, extras)
            inputs[:, reader.NUM_INTEGERS :] = exact % EXACT_BUCKETS
        targets = reader.labels_of(extras)
        batch = {"inputs": inputs, "targets": targets}
        return batch if self._size is None else pipeline.pad_rows(batch, num_rows)
