"""A full-size training batch of each workload, of made-up values.

A step takes the same time whatever the values are; shapes, types and the shares of padding
are those of the real data.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import ogbg

from algoperf.datasets.criteo1tb import reader as criteo1tb_reader
from algoperf.definition import WorkloadDefinition

NUM_TOKENS = 100  # of an utterance of 20 s
PAIRS_A_ROW = 8  # about as many as real packed rows of 256 tokens hold


def images(definition: WorkloadDefinition, size: int) -> dict[str, Any]:
    """Normal pixels and uniform labels."""
    rng = np.random.default_rng(0)
    side, classes = definition.model.image_size, definition.model.num_classes
    return {
        "inputs": rng.normal(size=(size, side, side, 3)).astype(np.float32),
        "targets": rng.integers(0, classes, size).astype(np.int32),
    }


def slices(definition: WorkloadDefinition, size: int) -> dict[str, Any]:
    """Normal pixels, as standardised slices have."""
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(2, size, 320, 320)).astype(np.float32)
    ones = np.ones(size, np.float32)
    scale = {"mean": 0 * ones, "std": ones, "volume_max": ones}
    return {"inputs": inputs, "targets": targets, **scale}


def graphs(definition: WorkloadDefinition, size: int) -> dict[str, Any]:
    """Molecules of the published mean sizes, padded as the pipeline pads them."""
    return ogbg.open_batches("validation", size, definition.splits.validation).batch(0)


def clicks(definition: WorkloadDefinition, size: int) -> dict[str, Any]:
    """Rows whose categories are uniform: the worst case for the table."""
    rng = np.random.default_rng(0)
    sizes = np.array(criteo1tb_reader.NUM_BUCKETS)
    buckets = rng.integers(0, sizes, (size, len(sizes)))
    integers = np.log1p(rng.geometric(0.1, (size, criteo1tb_reader.NUM_INTEGERS)))
    return {
        "inputs": np.concatenate([integers, buckets], axis=1).astype(np.float32),
        "targets": (rng.random(size) < 0.03).astype(np.float32),
    }


def utterances(definition: WorkloadDefinition, size: int) -> dict[str, Any]:
    """Noise of full length and uniform tokens."""
    rng = np.random.default_rng(0)
    data = definition.data
    signal = rng.normal(scale=1e3, size=(size, data.max_samples)).astype(np.float32)
    tokens = rng.integers(1, data.vocab_size, (size, data.max_tokens))
    is_padding = np.broadcast_to(np.arange(data.max_tokens) >= NUM_TOKENS, tokens.shape)
    return {
        "inputs": (signal, np.zeros_like(signal)),
        "targets": (tokens.astype(np.int32), is_padding.astype(np.float32)),
    }


def packed_rows(definition: WorkloadDefinition, size: int) -> dict[str, Any]:
    """Full rows of equally long pairs."""
    config = definition.model
    rng = np.random.default_rng(0)
    shape = size, config.max_length
    each = config.max_length // PAIRS_A_ROW
    columns = np.arange(config.max_length, dtype=np.int32)
    batch: dict[str, np.ndarray] = {"weights": np.ones(shape, np.float32)}
    for key in ("inputs", "targets"):
        batch[key] = rng.integers(3, config.vocab_size, shape).astype(np.int32)
        batch[f"{key}_position"] = np.broadcast_to(columns % each, shape)
        batch[f"{key}_segmentation"] = np.broadcast_to(columns // each + 1, shape)
    return batch


def chunks(definition: WorkloadDefinition, size: int) -> dict[str, Any]:
    """Uniform tokens."""
    config = definition.model
    shape = size, config.sequence_length + 1
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, shape, np.int32)
    return {"inputs": tokens[:, :-1].copy(), "targets": tokens[:, 1:].copy()}


# The maker of a batch, and the batch sizes of "figures to beat", where there is one.
MAKERS: Mapping[
    str, tuple[Callable[[WorkloadDefinition, int], dict[str, Any]], int]
] = {
    "criteo1tb": (clicks, 8_192),
    "fastmri": (slices, 4),
    "finewebedu_lm": (chunks, 1),  # there is no figure
    "imagenet_resnet": (images, 8),
    "imagenet_vit": (images, 8),
    "librispeech_conformer": (utterances, 2),
    "librispeech_deepspeech": (utterances, 2),
    "ogbg": (graphs, 64),
    "wmt": (packed_rows, 4),
}
