"""Speed of ImageNet's input pipeline, as ratios to what is measured beside it.

    python benchmarks/imagenet_input.py            # one core's time of each pipeline
    python benchmarks/imagenet_input.py --threads 1 2 4    # wall time with a pool
    python benchmarks/imagenet_input.py --memory   # of 50 evaluations

Set OPENBLAS_NUM_THREADS=1, as the harness does: else numpy's products are spread over
all cores, and 2 threads are as slow as one.

Images are made of the shipped photographs, 500 x 375 pixels, as many of
ImageNet's are. Decoding alone is the floor: all of each image, with the same decoder.
"""

import argparse
import dataclasses
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import print_memory
from PIL import Image

from algoperf.datasets.imagenet import jpeg, photographs, reader
from algoperf.definition import Split, Splits
from algoperf.pipeline import DataRequest, InputQueue
from algoperf.workloads._imagenet import data as batches

SIZE = (500, 375)
QUALITY = 97  # gives 70 kB; the mean of ImageNet's files, larger and smaller, is 110 kB
NUM_IMAGES = 190
BATCH_SIZE = 128
TURNS = 12
DRAWN = 6  # batches a measurement of threads draws
# Training on 8 x V100, published logs: 1,024 images in 0.34 s and in 0.445 s.
CONSUMED = {"ResNet": 1024 / 0.34, "ViT": 1024 / 0.445}
RESNET = batches.DataConfig(num_threads=1)
VIT = dataclasses.replace(RESNET, randaugment=True, mixup_alpha=0.2)


def make_images() -> list[bytes]:
    """JPEG files of random parts of the photographs."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(NUM_IMAGES):
        sources = photographs.sources()
        with Image.open(sources[number % len(sources)]) as photograph:
            width, height = photograph.size
            side = rng.uniform(0.6, 1) * min(width / SIZE[0], height / SIZE[1])
            part = side * SIZE[0], side * SIZE[1]
            left, top = rng.uniform(0, 1, 2) * (width - part[0], height - part[1])
            box = (left, top, left + part[0], top + part[1])
            image = photograph.convert("RGB").resize(
                SIZE, Image.Resampling.BICUBIC, box
            )
        content = io.BytesIO()
        image.save(content, "JPEG", quality=QUALITY)
        made.append(content.getvalue())
    return made


def open_batches(
    path: Path, split: Split, config: batches.DataConfig
) -> batches.ImageBatches:
    """Batches of the made images, all of class 0."""
    splits = Splits(NUM_IMAGES, NUM_IMAGES, NUM_IMAGES, NUM_IMAGES)
    request = DataRequest(path.parent, split, splits, BATCH_SIZE, seed=0, config=config)
    return batches.ImageBatches(request, reader.Images([path], config.num_classes))


def rate(
    work: Callable[[int], Any],
    count: int,
    now: Callable[[], float],
    repeats: int,
) -> float:
    """Images a second in the fastest of several calls of `work`, which makes `count`.

    Other jobs on the machine only ever lengthen one.
    """
    work(0)
    times = []
    for index in range(repeats):
        start = now()
        work(index)
        times.append(now() - start)
    return count / min(times)


def benchmark_cores(path: Path, images: list[bytes]) -> None:
    """Each pipeline on one core, beside decoding alone.

    They take turns, so that other jobs slow all of them alike; the fastest turn counts.
    """
    works: dict[str, Callable[[int], Any]] = {
        "decoding alone": lambda turn: [jpeg.decode(i) for i in images[:BATCH_SIZE]]
    }
    for name, config in (("ResNet", RESNET), ("ViT", VIT)):
        works[f"{name} train"] = open_batches(path, "train", config).batch
    evaluation = open_batches(path, "validation", RESNET)
    works["evaluation"] = lambda turn: evaluation.batch(0)
    seconds = dict.fromkeys(works, float("inf"))
    for turn in range(TURNS):
        for name, work in works.items():
            start = time.process_time()
            work(turn)
            spent = (time.process_time() - start) / BATCH_SIZE
            seconds[name] = min(seconds[name], spent)
    size = sum(map(len, images)) / len(images)
    floor = seconds["decoding alone"]
    print(f"files of {size / 1e3:.0f} kB")
    for name, spent in seconds.items():
        consumed = CONSUMED.get(name.removesuffix(" train"))
        cores = f"; 8 x V100 consume {consumed:,.0f}" if consumed else ""
        print(
            f"{name}: {1 / spent:,.0f} images/s of one core, {floor / spent:.2f} of "
            f"decoding alone{cores}"
        )


def benchmark_threads(path: Path, numbers: list[int]) -> None:
    """Wall time of ResNet and ViT training batches, drawn as in a run."""
    for name, config in (("ResNet", RESNET), ("ViT", VIT)):
        for number in numbers:
            config = dataclasses.replace(config, num_threads=number)
            queue = InputQueue(
                open_batches(path, "train", config),
                lambda batch: None,
                num_workers=min(number, 2),  # from 3 on, a pool works on each batch
            )

            def draw(_: int, queue: InputQueue = queue) -> None:
                for _ in range(DRAWN):
                    next(queue)

            found = rate(draw, DRAWN * BATCH_SIZE, time.perf_counter, 3)
            queue.close()
            print(f"{name} train, {number} threads: {found:,.0f} images/s of wall time")


def benchmark_memory(path: Path) -> None:
    """What 50 evaluations add to the process's memory."""
    opened = open_batches(path, "validation", RESNET)
    assert opened.num_batches is not None
    number = opened.num_batches
    print_memory(lambda: [len(opened.batch(index)) for index in range(number)])


def main() -> None:
    """Makes the images and runs the part that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", metavar="N")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    images = make_images()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / reader.shard_name("train", 0)
        writer = reader.ShardWriter(path)
        for content in images:
            writer.append(content, 0)
        writer.close()
        if options.memory:
            benchmark_memory(path)
        elif options.threads:
            benchmark_threads(path, options.threads)
        else:
            benchmark_cores(path, images)


if __name__ == "__main__":
    main()
