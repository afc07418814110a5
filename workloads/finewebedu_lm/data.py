"""Batches of text: every example is a chunk of the prepared data."""

from collections.abc import Callable

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.fineweb_edu import reader
from algoperf.errors import BadData
from algoperf.prepared import PreparedData

from .definition import DataConfig


def open_batches(request: pipeline.DataRequest) -> pipeline.Batches:
    """The batches of one split of the prepared data in `request.folder`.

    `inputs` and `targets` are int32 [batch, sequence_length]: a chunk without its last
    and without its first token. Evaluation batches have `weights` float32 of that
    shape, 0 in rows of padding; training batches, where every token counts, have none.

    An epoch visits all training chunks in an order drawn from the seed. eval_train is
    the first ones in stored order, the same in every run.
    """
    data = PreparedData.requested(request, reader)
    _check(data, request.config)
    chunks = reader.read_split(data, request.split)
    return pipeline.ExampleBatches(request, reader_of(request, chunks))


def reader_of(
    request: pipeline.DataRequest, chunks: reader.Chunks
) -> Callable[[np.ndarray, np.ndarray], Arrays]:
    """What reads examples for `pipeline.ExampleBatches`: see `open_batches`."""

    def read(example_ids: np.ndarray, epochs: np.ndarray) -> Arrays:
        tokens = chunks.read(example_ids)
        batch = {
            "inputs": tokens[:, :-1].astype(np.int32),
            "targets": tokens[:, 1:].astype(np.int32),
        }
        if not request.is_training:
            batch["weights"] = np.ones(batch["targets"].shape, np.float32)
        return batch

    return read


def _check(data: PreparedData, config: DataConfig) -> None:
    """`BadData` unless tokenizer and length are the workload's."""
    found = data.facts.get("vocab_size"), data.facts.get("chunk_length")
    if found != (config.vocab_size, config.sequence_length + 1):
        raise BadData(
            f"{data.folder} was prepared with a vocabulary of {found[0]} tokens, in "
            f"chunks of {found[1]}; the workload has {config.vocab_size} and "
            f"{config.sequence_length + 1}. Delete the folder and run {data.command}."
        )
