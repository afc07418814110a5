"""Batches of translations: packed rows in training, one pair a row in evaluation."""

import functools

import numpy as np

from algoperf import pipeline
from algoperf.backend import Arrays
from algoperf.datasets.wmt import reader
from algoperf.errors import BadData
from algoperf.prepared import PreparedData

from .data_config import DataConfig
from .packing import Rows, buffered_order

# eval_train is the same training pairs in every run, whatever its seed.
_EVAL_TRAIN_SEED = 0x776D7465


def open_batches(request: pipeline.DataRequest) -> pipeline.Batches:
    """The batches of one split of the prepared data in `request.folder`.

    `inputs` (German) and `targets` (English) are int32 [batch, max_length]: tokens of
    sentences that end with 2; 0 is padding, and a character without a token. `weights`
    float32 [batch, max_length] is 1 where a target is not 0.

    Training rows hold several pairs (see `packing`). They come with
    `inputs_position`, `targets_position`: 0, 1, … in each sentence; and
    `inputs_segmentation`, `targets_segmentation`: 1, 2, … for each pair of the row, 0
    where the token is 0; all int32 [batch, max_length].
    """
    data = PreparedData.requested(request, reader)
    vocab_size = data.facts.get("vocab_size")
    if vocab_size != request.config.vocab_size:
        raise data.unfit(
            f"was prepared with a vocabulary of {vocab_size} tokens; the workload has "
            f"{request.config.vocab_size}"
        )
    pairs = reader.read_split(data, request.split)
    if request.is_training:
        return PackedBatches(request, pairs)
    return evaluation_batches(request, pairs)


def fitting(pairs: reader.Pairs, max_length: int) -> np.ndarray:
    """Which pairs are kept: both sides have at most `max_length` tokens; bool [pairs]."""
    is_short = pairs.inputs.lengths() <= max_length
    is_short &= pairs.targets.lengths() <= max_length
    return is_short


class PackedBatches:
    """Implements `pipeline.Batches`: endless training rows, packed."""

    def __init__(self, request: pipeline.DataRequest, pairs: reader.Pairs) -> None:
        config: DataConfig = request.config
        self.num_batches: int | None = None
        self._request = request
        self._pairs = pairs
        kept = np.flatnonzero(fitting(pairs, config.max_length))
        if not len(kept):
            raise BadData(
                f"No training pair in {request.folder} has at most {config.max_length} "
                "tokens on both sides. Prepare more pairs."
            )
        lengths = [sentences.lengths()[kept] for sentences in _sides(pairs).values()]
        self._kept = kept
        self._rows = Rows(
            np.stack(lengths),
            config.max_length,
            functools.partial(
                buffered_order, len(kept), config.shuffle_buffer, request.seed
            ),
        )

    def batch(self, index: int) -> Arrays:
        """See `pipeline.Batches.batch`; the arrays are those of `open_batches`."""
        request = self._request
        rows = request.shard_rows()
        first = index * request.batch_size
        pairs, counts = self._rows.pairs(first + rows.start, first + rows.stop)
        pairs = self._kept[pairs]
        batch = {}
        for side, sentences in _sides(self._pairs).items():
            packed = _pack(sentences, pairs, counts, request.config.max_length)
            for suffix, array in zip(
                ("", "_position", "_segmentation"), packed, strict=True
            ):
                batch[side + suffix] = array
        return _with_weights(batch)


def _pack(
    sentences: reader.Sentences, ids: np.ndarray, counts: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, positions and segmentation of rows of sentences: int32 [rows, length].

    ids: int [sentences], row by row; counts: int [rows], sentences of each row.
    """
    starts = sentences.offsets[ids]
    lengths = sentences.offsets[ids + 1] - starts
    begins = np.cumsum(lengths) - lengths  # of each sentence among all tokens
    first_of_row = np.cumsum(counts) - counts
    segments = np.arange(1, len(ids) + 1) - np.repeat(first_of_row, counts)
    sizes = np.add.reduceat(lengths, first_of_row)  # tokens of each row

    index = np.arange(lengths.sum())
    is_token = np.arange(length) < sizes[:, np.newaxis]
    tokens, positions, segmentation = np.zeros((3, len(counts), length), np.int32)
    tokens[is_token] = sentences.tokens[index + np.repeat(starts - begins, lengths)]
    positions[is_token] = index - np.repeat(begins, lengths)
    segmentation[is_token] = np.repeat(segments, lengths)
    # Published: token 0 belongs to no segment, also where it is an unknown character.
    segmentation *= tokens != reader.UNKNOWN
    return tokens, positions, segmentation


def evaluation_batches(
    request: pipeline.DataRequest, pairs: reader.Pairs
) -> pipeline.ExampleBatches:
    """One pair a row, in fixed order; every pair of the split is an example.

    Longer pairs than rows enter no metric, as published: they are empty sentences with
    weight 0.
    """
    config: DataConfig = request.config
    is_kept = fitting(pairs, config.max_length)
    examples = np.arange(len(pairs))
    if request.split == "eval_train":
        size = request.splits.eval_train
        examples = eval_train_pairs(is_kept, size, config.shuffle_buffer)

    def read(example_ids: np.ndarray, epochs: np.ndarray) -> Arrays:
        ids = examples[example_ids]
        batch = {
            side: _padded(sentences, ids, is_kept[ids], config.max_length)
            for side, sentences in _sides(pairs).items()
        }
        batch = _with_weights(batch)
        batch["weights"] *= is_kept[ids, np.newaxis]
        return batch

    return pipeline.ExampleBatches(request, read, num_examples=len(examples))


def eval_train_pairs(is_kept: np.ndarray, size: int, buffer: int) -> np.ndarray:
    """The training pairs that are evaluated, in a fixed order: int64 [size].

    As in the published benchmark they are among the first `size + buffer` that fit into
    a row; unlike there, they are always the same ones.
    """
    head = np.argsort(~is_kept, kind="stable")[: size + buffer]
    order = pipeline.epoch_order(len(head), _EVAL_TRAIN_SEED, 0)
    pairs: np.ndarray = head[order[:size]]
    return pairs


def _padded(
    sentences: reader.Sentences, ids: np.ndarray, is_kept: np.ndarray, length: int
) -> np.ndarray:
    """One sentence a row, int32 [rows, length]; only its end where it is too long."""
    starts = sentences.offsets[ids]
    lengths = sentences.offsets[ids + 1] - starts
    starts = np.where(is_kept, starts, starts + lengths - 1)
    lengths = np.where(is_kept, lengths, 1)
    rows = np.zeros((len(ids), length), np.int32)
    is_token = np.arange(length) < lengths[:, np.newaxis]
    rows[is_token] = sentences.tokens[reader.ranges(starts, lengths)]
    return rows


def _sides(pairs: reader.Pairs) -> dict[str, reader.Sentences]:
    return {"inputs": pairs.inputs, "targets": pairs.targets}


def _with_weights(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**batch, "weights": (batch["targets"] > 0).astype(np.float32)}
