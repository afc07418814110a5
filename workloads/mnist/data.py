"""Batches of MNIST digits, normalised as in the published benchmark."""

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.mnist import reader
from algoperf.prepared import PreparedData

from .definition import TRAIN_MEAN, TRAIN_STDDEV

# eval_train is the same training examples in every run, whatever its seed.
_EVAL_TRAIN_SEED = 0x6D6E6973


def open_batches(request: pipeline.DataRequest) -> pipeline.Batches:
    """The batches of one split of the prepared data in `request.folder`.

    Each is `inputs` float32 [batch, 28, 28, 1], about -0.42 (background) to 827.2
    (ink); `targets` int32 [batch], 0 to 9; and in evaluation `weights` float32 [batch],
    0 for padding.
    """
    data = PreparedData.requested(request, reader)
    digits = reader.read_split(data, request.split)
    examples = pipeline.chosen_examples(request, len(digits.labels), _EVAL_TRAIN_SEED)

    def read(example_ids: np.ndarray, epochs: np.ndarray) -> Arrays:
        chosen = examples[example_ids]
        return {
            "inputs": normalise(digits.images[chosen]),
            "targets": digits.labels[chosen].astype(np.int32),
        }

    return pipeline.ExampleBatches(request, read, num_examples=len(examples))


def normalise(images: np.ndarray) -> np.ndarray:
    """uint8 [...] -> float32 [...], (x - mean) / deviation.

    The published quirk: mean and deviation are those of pixels in 0..1, but the pixels
    are not divided by 255. Targets and search spaces were tuned to inputs of this size,
    so it is kept.
    """
    values: np.ndarray = np.subtract(images, np.float32(TRAIN_MEAN), dtype=np.float32)
    values /= np.float32(TRAIN_STDDEV)
    return values
