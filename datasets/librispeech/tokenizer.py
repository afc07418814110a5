"""The SentencePiece tokenizer: trained on train-clean-100, as in the published benchmark."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from algoperf import input_files, packages
from algoperf.errors import BadData
from algoperf.manifest import prepare_command

END = 2  # `</s>`: SentencePiece's default; 0 is `<unk>` and CTC's blank, 1 is `<s>`
_MAX_CHARACTERS = 10_000_000  # of training text
VOCABULARY_SIZE = 1_024
# SentencePiece refuses a vocabulary that a text does not yield: the shipped data, 750
# short utterances of 24 words and phrases and five sentences, yield 61 pieces.
SMALL_VOCABULARY_SIZE = 60
_SMALL_TEXT = 100_000  # characters; train-clean-100 has 5 million


def train(texts: Sequence[str]) -> bytes:
    """A model of type unigram, all settings but its size being defaults.

    The same bytes for the same texts: one thread, and they do not pass through a file.
    The texts are used up to 10 million characters.
    """
    package = _sentencepiece()
    is_small = sum(map(len, texts)) < _SMALL_TEXT
    model = io.BytesIO()
    try:
        package.SentencePieceTrainer.train(
            sentence_iterator=_head(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=SMALL_VOCABULARY_SIZE if is_small else VOCABULARY_SIZE,
            character_coverage=1.0,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise BadData(
            f"No tokenizer can be trained on the {len(texts):,} transcripts of "
            f"train-clean-100 ({error}). Get the official files again."
        ) from error
    return model.getvalue()


def _head(texts: Iterable[str]) -> Iterator[str]:
    total = 0
    for text in texts:
        if total >= _MAX_CHARACTERS:
            return
        total += len(text)
        yield text


class Tokenizer:
    """Text to tokens and back."""

    def __init__(self, model: bytes) -> None:
        self._processor: Any = _sentencepiece().SentencePieceProcessor(
            model_proto=model
        )

    @classmethod
    def open(cls, path: Path) -> "Tokenizer":
        """The tokenizer whose model is the file `path`."""
        remedy = f"Delete it (if it is there) and run {prepare_command(path.parent)}."
        with input_files.opened(path, remedy) as file:
            model = file.read()
        try:
            return cls(model)
        except RuntimeError as error:
            raise BadData(
                f"{path} is not a tokenizer's model ({error}). {remedy}"
            ) from error

    @property
    def size(self) -> int:
        """Number of tokens, `<unk>`, `<s>` and `</s>` included."""
        return int(self._processor.vocab_size())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, with `</s>` at the end and no `<s>`."""
        encoded: list[list[int]] = self._processor.encode(list(texts), num_threads=1)
        return [[*tokens, END] for tokens in encoded]

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """The text of each list of tokens; `<s>` and `</s>` become nothing."""
        if not tokens:
            return []
        # Lists of Python integers: the binding converts arrays element by element.
        lists = [list(map(int, ids)) for ids in tokens]
        texts: list[str] = self._processor.decode(lists, num_threads=1)
        return texts


def _sentencepiece() -> ModuleType:
    package: ModuleType = packages.load("sentencepiece", "LibriSpeech")
    return package
