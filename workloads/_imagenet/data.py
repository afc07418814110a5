"""Batches of ImageNet for both workloads: decoded, cropped, augmented, normalised, mixed.

One pipeline for both frameworks, after the published JAX one. What happens to an example
depends on the seed, the epoch and the example alone, so batches are the same whatever
the number of threads and processes.
"""

import concurrent.futures
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.imagenet import jpeg, reader
from algoperf.pipeline import DataRequest
from algoperf.prepared import PreparedData

from .augment import randaugment
from .config import MEAN, STDDEV, DataConfig
from .crop import Box, centre_box, training_box
from .resize import Scratch, resize

# eval_train is the same training images in every run, whatever its seed.
_EVAL_TRAIN_SEED = 0x696D6167
_EXAMPLE_STREAM, _MIXUP_STREAM = 1, 2  # keep the draws of one seed apart
_SCALE = 1 / np.array(STDDEV, np.float32)
_CHUNK = 16  # images that a thread makes at a time


class ImageBatches:
    """Batches of one split; see `open_batches`."""

    def __init__(self, request: DataRequest, images: reader.Images) -> None:
        self._request = request
        self._config: DataConfig = request.config or DataConfig()
        self._maker = ExampleMaker(self._config, request.seed)
        self._images = images
        self._examples = pipeline.chosen_examples(
            request, len(images), _EVAL_TRAIN_SEED
        )
        self.num_batches = pipeline.num_batches(request, len(self._examples))
        self._stream = pipeline.EpochOrder(len(images), request.seed)
        self._threads: set[threading.Thread] = set()
        self._pool = _open_pool(request, self._config, self._threads)

    @property
    def threads(self) -> frozenset[threading.Thread]:
        """The threads that work on batches; they are the harness's."""
        return frozenset(self._threads)

    def close(self) -> None:
        """Ends the threads and closes the files, which are otherwise kept until the end."""
        if self._pool is not None:
            self._pool.shutdown()
        self._images.close()

    def batch(self, index: int) -> Arrays:
        """See `algoperf.pipeline.Batches`."""
        rows = self._request.shard_rows()
        size = self._request.batch_size
        if not self._request.is_training:
            places = np.arange(index * size + rows.start, index * size + rows.stop)
            places = places[places < len(self._examples)]
            batch = self._make(self._examples[places], None)
            return pipeline.pad_rows(batch, rows.stop - rows.start)
        if self._config.mixup_alpha is None:
            return self._train_rows(index, np.arange(rows.start, rows.stop))
        # Each row is mixed with the one before it in the global batch, so the row
        # before this process's first is made too.
        batch = self._train_rows(index, np.arange(rows.start - 1, rows.stop) % size)
        share = mixup_share(self._config.mixup_alpha, self._request.seed, index)
        return self._mixed(batch, share)

    def _train_rows(self, index: int, rows: np.ndarray) -> Arrays:
        """Rows of global training batch `index`; batches run on across epochs."""
        return self._make(*self._stream.at(index * self._request.batch_size + rows))

    def _make(self, ids: np.ndarray, epochs: np.ndarray | None) -> Arrays:
        """Inputs and targets of some images; epochs None: as for evaluation."""
        size = self._config.image_size
        inputs = np.empty((len(ids), size, size, 3), np.float32)

        def make(first: int, end: int) -> None:
            for i in range(first, end):
                epoch = None if epochs is None else int(epochs[i])
                self._make_one(int(ids[i]), epoch, inputs[i])

        self._in_chunks(make, len(ids))
        return {"inputs": inputs, "targets": self._images.labels[ids]}

    def _make_one(self, example: int, epoch: int | None, out: np.ndarray) -> None:
        content = self._images.read(example)
        try:
            if epoch is None:
                self._maker.evaluation(content, out)
            else:
                self._maker.training(content, example, epoch, out)
        except ValueError as error:
            reason = f"cannot be decoded: {error}"
            raise self._images.damaged(example, reason) from error

    def _mixed(self, batch: Arrays, share: np.float32) -> Arrays:
        """Each row but the first, mixed with the one before it."""
        inputs = batch["inputs"]
        num_rows = len(inputs)
        starts = range(1, num_rows, _CHUNK)
        before = inputs[[first - 1 for first in starts]]  # copied: others change it

        def mix(first: int, end: int) -> None:
            added = np.empty_like(inputs[0])
            # From the end, so that the row before is still unmixed.
            for i in range(end, first, -1):
                partner = inputs[i - 1] if i > first + 1 else before[first // _CHUNK]
                np.multiply(partner, 1 - share, out=added)
                inputs[i] *= share
                inputs[i] += added

        self._in_chunks(mix, num_rows - 1)
        one_hot = np.zeros((num_rows, self._config.num_classes), np.float32)
        one_hot[np.arange(num_rows), batch["targets"]] = 1
        targets = share * one_hot[1:] + (1 - share) * one_hot[:-1]
        return {"inputs": inputs[1:], "targets": targets}

    def _in_chunks(self, work: Callable[[int, int], None], count: int) -> None:
        """Calls work(first, end) for chunks of range(count), in the pool if there is one."""
        if self._pool is None:
            for first in range(0, count, _CHUNK):
                work(first, min(first + _CHUNK, count))
            return
        tasks = [
            self._pool.submit(work, first, min(first + _CHUNK, count))
            for first in range(0, count, _CHUNK)
        ]
        concurrent.futures.wait(tasks)
        for task in tasks:
            task.result()


class ExampleMaker:
    """Turns the bytes of an image into one row of `inputs`."""

    def __init__(self, config: DataConfig, seed: int) -> None:
        self._config = config
        self._seed = seed
        self._scratch = Scratch()
        # Of a row of pixels, red, green and blue side by side.
        self._row_scale = np.tile(_SCALE, config.image_size)
        self._row_shift = np.tile(
            np.array(MEAN, np.float32) * _SCALE, config.image_size
        )

    def evaluation(self, content: bytes, out: np.ndarray) -> None:
        """The centre of an image. out: float32 [image_size, image_size, 3]."""
        header = jpeg.read_header(content)
        config = self._config
        box = centre_box(
            header.height, header.width, config.image_size, config.resize_size
        )
        self._resize(content, header, box, out, scale=_SCALE)
        self._shift(out)

    def training(
        self, content: bytes, example: int, epoch: int, out: np.ndarray
    ) -> None:
        """A random, perhaps mirrored part. out: float32 [image_size, image_size, 3]."""
        header = jpeg.read_header(content)
        config = self._config
        rng = _generator(self._seed, epoch, example, _EXAMPLE_STREAM)
        box = training_box(
            header.height, header.width, config.image_size, config.resize_size, rng
        )
        is_mirrored = rng.random() < 0.5
        if not config.randaugment:
            self._resize(
                content, header, box, out, scale=_SCALE, is_mirrored=is_mirrored
            )
        else:
            self._resize(content, header, box, out, is_mirrored=is_mirrored)
            np.clip(out, 0, 255, out=out)
            # Truncated to bytes, as published; the augmentation's images are planes.
            planes = np.ascontiguousarray(out.astype(np.uint8).transpose(2, 0, 1))
            for channel, plane in enumerate(randaugment(planes, rng)):
                out[:, :, channel] = plane
            rows = out.reshape(len(out), -1)
            np.multiply(rows, self._row_scale, out=rows)
        self._shift(out)

    def _resize(
        self,
        content: bytes,
        header: jpeg.Header,
        box: Box,
        out: np.ndarray,
        **options: Any,
    ) -> None:
        """Decodes and resizes; options: as of `resize`."""
        num_bytes = header.height * header.width * 3
        buffer = self._scratch.get("pixels", (num_bytes,), np.uint8)
        image = jpeg.decode_rows(content, header, box.top + box.height, buffer)
        resize(image, box, out, self._scratch, **options)

    def _shift(self, out: np.ndarray) -> None:
        """Subtracts the mean from scaled pixels; out: float32 [y, x, 3]."""
        rows = out.reshape(len(out), -1)
        np.subtract(rows, self._row_shift, out=rows)


def open_batches(request: DataRequest) -> pipeline.Batches:
    """The batches of one split of the prepared data in `request.folder`.

    `request.config` is a `DataConfig`. Each batch is `inputs` float32 [batch, size, size,
    3], (value - `MEAN`) / `STDDEV`; `targets` int32 [batch], the class, or with mixup
    in training float32 [batch, classes], shares that add up to 1; and in evaluation
    `weights` float32 [batch], 0 for padding.
    """
    data = PreparedData.requested(request, reader)
    config: DataConfig = request.config or DataConfig()
    images = reader.read_split(data, request.split)
    if images.num_classes != config.num_classes:
        raise data.unfit(
            f"has images of {images.num_classes:,} classes; the workload needs "
            f"{config.num_classes:,}"
        )
    return ImageBatches(request, images)


def mixup_share(alpha: float, seed: int, index: int) -> np.float32:
    """How much of its own image a row keeps: one Beta(alpha, alpha) draw a global batch."""
    return np.float32(_generator(seed, index, 0, _MIXUP_STREAM).beta(alpha, alpha))


def _generator(seed: int, index: int, example: int, stream: int) -> np.random.Generator:
    """Random numbers that depend on these four alone, whatever was drawn before.

    They are Philox's key and the high words of its counter, which need no hashing.
    """
    source = np.random.Philox(key=(seed, stream), counter=(0, 0, index, example))
    return np.random.Generator(source)


def _open_pool(
    request: DataRequest, config: DataConfig, threads: set[threading.Thread]
) -> concurrent.futures.ThreadPoolExecutor | None:
    """Threads that share the work on each batch; they end with the pool's owner.

    None where the queue's own two threads are as many as this process's cores; all
    processes are taken to be on this machine.
    """
    number = config.num_threads
    if number is None:
        number = _num_cores() // request.num_shards
    if number <= 2:
        return None
    return concurrent.futures.ThreadPoolExecutor(
        number,
        thread_name_prefix="algoperf-images",
        initializer=lambda: threads.add(threading.current_thread()),
    )


def _num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
