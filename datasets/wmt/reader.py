"""The prepared WMT data: memory-mapped tokens of each split, and their tokenizer."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from algoperf.definition import Split
from algoperf.errors import BadData, MissingDependency
from algoperf.prepared import PreparedData

DATASET = "wmt"
FORMAT_VERSION = 1
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
    stored: Split = "train" if split == "eval_train" else split
    sides = {}
    for side in SIDES:
        arrays = {kind: _mapped(data, part_name(stored, side, kind)) for kind in KINDS}
        sides[side] = Sentences(**arrays)
    count = data.counts[stored]
    if not all(_is_whole(sentences, count) for sentences in sides.values()):
        raise BadData(
            f"{data.folder}: the {stored} files do not hold the {count:,} pairs that "
            "the manifest promises. Delete the folder and run `algoperf prepare "
            f"{data.folder.name}`."
        )
    return Pairs(**sides)


def _is_whole(sentences: Sentences, count: int) -> bool:
    return len(sentences) == count and sentences.offsets[-1] == len(sentences.tokens)


def _mapped(data: PreparedData, name: str) -> np.ndarray:
    try:
        # A plain view of the mapped file: np.memmap's own indexing is slower.
        return np.asarray(np.load(data.path(name), mmap_mode="r"))
    except ValueError as error:
        raise BadData(
            f"{data.path(name)} is damaged ({error}). Delete that file and run "
            f"`algoperf prepare {data.folder.name}` again; it writes this part anew."
        ) from error


def sentencepiece() -> Any:
    """The package sentencepiece, which only preparing and scoring need."""
    try:
        import sentencepiece as package
    except ModuleNotFoundError:
        raise MissingDependency(
            "The wmt data need the package 'sentencepiece', which is not installed. "
            "Install it: pip install 'algoperf[data]'."
        ) from None
    return package


def load_tokenizer(data: PreparedData) -> Any:
    """The `SentencePieceProcessor` that the data was prepared with."""
    path = data.path(TOKENIZER)
    processor = sentencepiece().SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(path.read_bytes())
    except RuntimeError as error:
        raise BadData(
            f"{path} is no SentencePiece model ({error}). Delete the folder "
            f"{data.folder} and prepare it again."
        ) from error
    return processor


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, … for each range, one after the other: int64."""
    shifts = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return shifts + np.arange(len(shifts))
