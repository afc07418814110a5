"""The prepared WMT data: memory-mapped tokens of each split, and their tokenizer."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from algoperf import input_files, packages
from algoperf.definition import Split, materialised
from algoperf.errors import BadData
from algoperf.prepared import PreparedData

DATASET = "wmt"
FORMAT_VERSION = 2
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SIDES = ("inputs", "targets")  # German, English
KINDS = ("tokens", "offsets")
TOKENIZER = "tokenizer.model"
# SentencePiece's ids. There is none for padding: 0 serves, and begins a translation.
UNKNOWN, END = 0, 2


def part_name(split: Split, side: str, kind: str) -> str:
    """The file of the prepared data that holds one array of a split."""
    return f"{split}-{side}-{kind}.npy"


@dataclass(frozen=True)
class Sentences:
    """The sentences of one language, one after the other.

    tokens: uint16 [all tokens]; every sentence ends with `END`. offsets: int64
    [sentences + 1], where each begins.
    """

    tokens: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self) -> np.ndarray:
        """Tokens of each sentence, `END` included: int32 [sentences]."""
        return np.diff(self.offsets).astype(np.int32)


@dataclass(frozen=True)
class Pairs:
    """One split: sentence i of `targets` translates sentence i of `inputs`."""

    inputs: Sentences
    targets: Sentences

    def __len__(self) -> int:
        return len(self.inputs)


def read_split(data: PreparedData, split: Split) -> Pairs:
    """The pairs of a split, mapped into memory: nothing is read until it is used.

    `eval_train` is a choice of training pairs, so it reads the train files.
    """
    stored = materialised(split)
    sides = {}
    for side in SIDES:
        names = (part_name(stored, side, kind) for kind in KINDS)
        sides[side] = Sentences(*map(data.array, names))
    count = data.counts[stored]
    if not all(_is_whole(sentences, count) for sentences in sides.values()):
        raise data.incomplete(stored, "pairs")
    return Pairs(**sides)


def _is_whole(sentences: Sentences, count: int) -> bool:
    return len(sentences) == count and sentences.offsets[-1] == len(sentences.tokens)


def sentencepiece() -> Any:
    """The package sentencepiece, which only preparing and scoring need."""
    return packages.load("sentencepiece", "The wmt data")


def load_tokenizer(data: PreparedData) -> Any:
    """The `SentencePieceProcessor` that the data was prepared with."""
    path = data.path(TOKENIZER)
    with input_files.opened(path, data.rewrite(TOKENIZER)) as file:
        model = file.read()
    processor = sentencepiece().SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except RuntimeError as error:
        raise BadData(
            f"{path} is no SentencePiece model ({error}). {data.rewrite(TOKENIZER)}"
        ) from error
    return processor


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, … for each range, one after the other: int64."""
    shifts = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return shifts + np.arange(len(shifts))
