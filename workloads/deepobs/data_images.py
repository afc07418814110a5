"""Batches of small labelled images, prepared as the published code does (sheet, §1)."""

import importlib
from typing import cast

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets._images.stored import LabelledImages
from algoperf.prepared import PreparedData

from . import augmentation
from .inputs import ImagesConfig

# eval_train is the same training examples in every run, whatever its seed.
EVAL_TRAIN_SEED = 0x6465656F


def open_batches(request: pipeline.DataRequest) -> pipeline.Batches:
    """The batches of one split.

    `inputs` float32 [batch, height, width, channels]; `targets` int32 [batch], or the inputs
    again with `noise` float32 [batch, latent]; in evaluation `weights` float32 [batch].
    """
    config: ImagesConfig = request.config
    reader = importlib.import_module(f"algoperf.datasets.{config.dataset}.reader")
    data = PreparedData.requested(request, reader)
    images = cast(LabelledImages, reader.read_split(data, request.split))
    examples = pipeline.chosen_examples(request, len(images.labels), EVAL_TRAIN_SEED)
    draws = augmentation.Draws(len(examples), request.seed)

    def read(example_ids: np.ndarray, epochs: np.ndarray) -> Arrays:
        chosen = examples[example_ids]
        values = images.images[chosen].astype(np.float32)
        if config.augmented and request.is_training:
            numbers = draws.at(example_ids, epochs)
            values = augmentation.augmented(values, numbers, flipped=config.flipped)
        values = standardised(values) if config.standardised else values / 255
        if config.latent_dim is None:
            return {"inputs": values, "targets": images.labels[chosen].astype(np.int32)}
        noise = draws.noise(config.latent_dim, example_ids, epochs)
        return {"inputs": values, "targets": values, "noise": noise}

    return pipeline.ExampleBatches(request, read, num_examples=len(examples))


def standardised(images: np.ndarray) -> np.ndarray:
    """Each image minus its mean, by its deviation, which counts at least as 1 / sqrt(n)."""
    axes = tuple(range(1, images.ndim))
    least = np.float32(1 / np.sqrt(np.prod(images.shape[1:])))
    deviation = np.maximum(images.std(axis=axes, keepdims=True), least)
    result: np.ndarray = (images - images.mean(axis=axes, keepdims=True)) / deviation
    return result
