"""The prepared LibriSpeech: packed 16-bit audio and tokens, mapped into memory.

Audio is in a few files of whole utterances, as the archives had them; each split has an
index in the published order (the sets one after the other, each sorted by utterance).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, materialised
from algoperf.prepared import PreparedData

DATASET = "librispeech"
FORMAT_VERSION = 1
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SETS: Mapping[Split, tuple[str, ...]] = {  # the published splits, in their order
    "train": ("train-clean-100", "train-clean-360", "train-other-500"),
    "validation": ("dev-clean", "dev-other"),
    "test": ("test-clean",),
}
SAMPLE_RATE = 16_000  # Hz
AUDIO_DTYPE = np.dtype("<i2")
TOKEN_DTYPE = np.dtype("<u2")
# One utterance: its audio in samples of one of the files, its tokens in the split's.
INDEX_DTYPE = np.dtype(
    [
        ("file", "<u2"),
        ("start", "<i8"),
        ("num_samples", "<i4"),
        ("token_start", "<i8"),
        ("num_tokens", "<i4"),
    ]
)
TOKENIZER = "tokenizer.model"


def index_name(split: Split) -> str:
    """The part with the index of a split: `INDEX_DTYPE` [utterances]."""
    return f"{split}-index.npy"


def tokens_name(split: Split) -> str:
    """The part with all tokens of a split: uint16 [tokens]."""
    return f"{split}-tokens.npy"


def ids_name(split: Split) -> str:
    """The part with the utterances' ids, one a line, in the order of the index."""
    return f"{split}-ids.txt"


@dataclass(frozen=True)
class Utterances:
    """One split. audio: int16 [samples] of each file; tokens: uint16 [all tokens]."""

    audio: Sequence[np.ndarray]
    index: np.ndarray  # INDEX_DTYPE [utterances]
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def samples(self, utterance: int) -> np.ndarray:
        """The 16-bit values of an utterance, int16 [samples]; nothing is copied."""
        file, start, length = self.index[utterance].tolist()[:3]
        samples: np.ndarray = self.audio[file][start : start + length]
        return samples

    def token_ids(self, utterance: int) -> np.ndarray:
        """The tokens of an utterance with `</s>` at the end, uint16 [tokens]."""
        start, length = self.index[utterance].tolist()[3:]
        return self.tokens[start : start + length]


def read_split(data: PreparedData, split: Split) -> Utterances:
    """The utterances of a split; nothing is read until it is used.

    `eval_train` is a choice of training utterances, so it reads the training index.
    """
    stored = materialised(split)
    index = data.array(index_name(stored))
    tokens = data.array(tokens_name(stored))
    if index.dtype != INDEX_DTYPE or len(index) != data.counts[stored]:
        raise data.incomplete(stored, "utterances")
    return Utterances(
        audio=[_audio(data, name) for name in data.parts("audio_files")],
        index=index,
        tokens=tokens,
    )


def read_ids(data: PreparedData, split: Split) -> list[str]:
    """The utterances' official ids (`103-1240-0000`), in the order of the index."""
    return data.path(ids_name(split)).read_text("utf-8").split()


def _audio(data: PreparedData, name: str) -> np.ndarray:
    path = data.path(name)
    with input_files.reading(path, data.rewrite(name)):
        if not input_files.size_bytes(path):  # an empty file cannot be mapped
            return np.empty(0, AUDIO_DTYPE)
        return np.asarray(np.memmap(path, AUDIO_DTYPE, "r"))
