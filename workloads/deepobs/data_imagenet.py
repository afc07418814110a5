"""Batches of our prepared ImageNet as the published code makes them (sheet, §1)."""

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.imagenet import jpeg, reader
from algoperf.prepared import PreparedData

from .._imagenet.crop import centre_box
from .._imagenet.resize import Scratch, resize
from .augmentation import Draws
from .data_images import EVAL_TRAIN_SEED, standardised
from .inputs import ImagenetConfig


def open_batches(request: pipeline.DataRequest) -> pipeline.Batches:
    """The batches of one split.

    `inputs` float32 [batch, 224, 224, 3]; `targets` int32 [batch], where 0 is the background
    and no image's class; in evaluation `weights` float32 [batch].
    """
    config: ImagenetConfig = request.config
    data = PreparedData.requested(request, reader)
    images = reader.read_split(data, request.split)
    examples = pipeline.chosen_examples(request, len(images), EVAL_TRAIN_SEED)
    draws, scratch = Draws(len(examples), request.seed), Scratch()

    def read(example_ids: np.ndarray, epochs: np.ndarray) -> Arrays:
        chosen = examples[example_ids]
        size = config.resize_size if request.is_training else config.image_size
        found = np.empty((len(chosen), size, size, 3), np.float32)
        for example, out in zip(chosen.tolist(), found, strict=True):
            _read_centre(images, example, config, out, scratch)
        if request.is_training:
            numbers = draws.at(example_ids, epochs)
            found = _random_parts(found, numbers, config.image_size)
        targets = images.labels[chosen] + config.first_class
        return {"inputs": standardised(found), "targets": targets.astype(np.int32)}

    return pipeline.ExampleBatches(request, read, num_examples=len(examples))


def _read_centre(
    images: reader.Images,
    example: int,
    config: ImagenetConfig,
    out: np.ndarray,
    scratch: Scratch,
) -> None:
    """The centre of an image whose short side becomes 256 pixels; out: [side, side, 3]."""
    content = images.read(example)
    try:
        header = jpeg.read_header(content)
        box = centre_box(header.height, header.width, len(out), config.resize_size)
        pixels = jpeg.decode_rows(content, header, box.top + box.height)
    except ValueError as error:
        raise images.damaged(example, f"cannot be decoded: {error}") from error
    resize(pixels, box, out, scratch)


def _random_parts(images: np.ndarray, numbers: np.ndarray, size: int) -> np.ndarray:
    """A random part of each, mirrored by half: [n, size, size, 3]; numbers: of `Draws`."""
    places = images.shape[1] - size + 1
    tops, lefts = (numbers[:, :2] * places).astype(int).T
    parts = np.empty((len(images), size, size, 3), np.float32)
    for image, part, top, left, number in zip(
        images, parts, tops, lefts, numbers[:, 2], strict=True
    ):
        cut = image[top : top + size, left : left + size]
        part[:] = cut[:, ::-1] if number < 0.5 else cut
    return parts
