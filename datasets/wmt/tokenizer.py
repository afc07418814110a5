"""One SentencePiece model for both languages, and the tokens that it makes of text."""

import io
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from algoperf.errors import BadData

from .reader import END, sentencepiece

# The published tokenizer: unigram model, all characters, other options as they come.
VOCAB_SIZE = 32_000
SAMPLE_BYTES = 10_000_000  # of text that it is trained on, line ends included
# Of texts smaller than the published sample, that is the shipped ones.
SMALL_VOCAB_SIZE = 1_000
_SILENT = 2  # log level: errors only


def train(lines: Iterable[str], vocab_size: int) -> bytes:
    """A serialised model; the same bytes for the same lines.

    One thread and lines from an iterator: several would add up counts in any order.
    """
    model = io.BytesIO()
    try:
        sentencepiece().SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            character_coverage=1.0,
            num_threads=1,
            minloglevel=_SILENT,
        )
    except RuntimeError as error:
        raise BadData(
            f"No vocabulary of {vocab_size:,} pieces can be made of the training text "
            f"({error}). Is it the text of the official files?"
        ) from error
    return model.getvalue()


def load(model: bytes) -> Any:
    """The `SentencePieceProcessor` of a serialised model."""
    processor = sentencepiece().SentencePieceProcessor()
    processor.LoadFromSerializedProto(model)
    return processor


def encode(processor: Any, lines: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of all lines, uint16 [tokens], and of how many each is made, int32 [lines].

    Every line ends with `END`; nothing marks its begin.
    """
    encoded = processor.encode(list(lines), out_type=int, add_eos=True)
    assert processor.eos_id() == END
    lengths = np.fromiter(map(len, encoded), np.int32, len(encoded))
    tokens = np.fromiter(
        itertools.chain.from_iterable(encoded), np.uint16, int(lengths.sum())
    )
    return tokens, lengths
