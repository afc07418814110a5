"""Batches of speech, for both workloads: padded audio and tokens, in the published form."""

import dataclasses
from typing import Any

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.librispeech import reader
from algoperf.prepared import PreparedData

from .config import DataConfig

# eval_train is the same training utterances in every run, whatever its seed.
_EVAL_TRAIN_SEED = 0x6C696272


def open_batches(request: pipeline.DataRequest) -> "SpeechBatches":
    """The batches of one split of the prepared data in `request.folder`.

    Each is `inputs`, the tuple (audio float32 [batch, samples], paddings float32
    [batch, samples]); `targets`, the tuple (tokens int32 [batch, tokens], paddings
    float32 [batch, tokens]); and in evaluation `weights` float32 [batch], 0 for padded
    rows. Audio has its 16-bit values, -32768 to 32767, not scaled; paddings are 1 in
    padding, where audio and tokens are 0, and everywhere in padded rows.
    """
    data = PreparedData.requested(request, reader)
    utterances = reader.read_split(data, request.split)
    _check(data, utterances, request.config)
    return SpeechBatches(request, utterances)


def _check(
    data: PreparedData, utterances: reader.Utterances, config: DataConfig
) -> None:
    found = (
        data.fact("vocabulary_size", int),
        *(
            int(utterances.index[name].max(initial=0))
            for name in ("num_samples", "num_tokens")
        ),
    )
    limits = config.vocab_size, config.max_samples, config.max_tokens
    if found[0] != limits[0] or found[1] > limits[1] or found[2] > limits[2]:
        raise data.unfit(
            f"has a vocabulary of {found[0]:,}, and utterances of up to {found[1]:,} "
            f"samples and {found[2]:,} tokens; the workload has room for {limits[0]:,}, "
            f"{limits[1]:,} and {limits[2]:,}. It is not this workload's data"
        )


class SpeechBatches:
    """Implements `pipeline.Batches`; see `open_batches` for the arrays."""

    def __init__(
        self, request: pipeline.DataRequest, utterances: reader.Utterances
    ) -> None:
        self._request = request
        self._config: DataConfig = request.config
        self._utterances = utterances
        chosen = pipeline.chosen_examples(request, len(utterances), _EVAL_TRAIN_SEED)
        # The length of a batch depends on all of its utterances, so the utterances of
        # the global batch are drawn first, and then this process's part is read.
        self._global = pipeline.ExampleBatches(
            dataclasses.replace(request, shard=0, num_shards=1),
            lambda ids, epochs: {"utterances": chosen[ids]},
            num_examples=len(chosen),
        )
        self.num_batches = self._global.num_batches

    def batch(self, index: int) -> dict[str, Any]:
        """See `pipeline.Batches.batch`; the arrays are those of `open_batches`."""
        drawn = self._global.batch(index)
        rows = self._request.shard_rows()
        length = self._length(drawn)
        utterances = drawn["utterances"][rows]
        if self._request.is_training:
            return self._read(utterances, length, len(utterances))
        weights = drawn["weights"][rows]
        batch = self._read(utterances, length, int(weights.sum()))
        return {**batch, "weights": weights}

    def _length(self, drawn: Arrays) -> int:
        """The number of samples that the audio of a global batch is padded to."""
        if not self._config.trim_padding:
            return self._config.max_samples
        lengths = self._utterances.index["num_samples"][drawn["utterances"]]
        if "weights" in drawn:
            lengths = lengths[drawn["weights"] > 0]
        return self._config.length_for(int(lengths.max()))

    def _read(
        self, utterances: np.ndarray, length: int, num_real: int
    ) -> dict[str, Any]:
        """The first `num_real` utterances; the other rows are padding."""
        shape = len(utterances), length
        audio, audio_paddings = np.empty(shape, np.float32), np.empty(shape, np.float32)
        shape = len(utterances), self._config.max_tokens
        tokens, token_paddings = np.empty(shape, np.int32), np.empty(shape, np.float32)
        for row, utterance in enumerate(utterances.tolist()):
            is_real = row < num_real
            samples = self._utterances.samples(utterance) if is_real else ()
            _fill(audio[row], audio_paddings[row], samples)
            ids = self._utterances.token_ids(utterance) if is_real else ()
            _fill(tokens[row], token_paddings[row], ids)
        return {
            "inputs": (audio, audio_paddings),
            "targets": (tokens, token_paddings),
        }


def _fill(row: np.ndarray, paddings: np.ndarray, values: Any) -> None:
    """Writes values and zeros to `row`; zeros and, behind the values, ones to `paddings`."""
    num_values = len(values)
    row[:num_values] = values
    row[num_values:] = 0
    paddings[:num_values] = 0
    paddings[num_values:] = 1
