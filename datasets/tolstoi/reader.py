"""The prepared text: a memory-mapped array of character numbers for each part."""

import numpy as np

from algoperf.definition import Split, materialised
from algoperf.prepared import PreparedData

DATASET = "tolstoi"
FORMAT_VERSION = 1
SEQUENCE_LENGTH = 50  # characters of an example; its targets begin one character later
MAX_VOCABULARY = 83
VOCABULARY = (
    "vocabulary"  # the fact that holds all characters, in the order of their numbers
)


def part_name(split: Split) -> str:
    """The file that holds the characters of a split. Validation is the test text."""
    return f"{'train' if split == 'train' else 'test'}-tokens.npy"


def num_sequences(num_characters: int) -> int:
    """How many sequences with their targets a text has."""
    return max(0, num_characters - 1) // SEQUENCE_LENGTH


def read_split(data: PreparedData, split: Split) -> np.ndarray:
    """The characters of a split in the order of the text: uint8 [n], numbers 0 to 82.

    All of the split's text, which has at least `SEQUENCE_LENGTH` characters for each of the
    manifest's examples, and one more. Nothing is read until it is used. There is no
    validation text, as in the published protocol: the validation split is the test text.
    """
    stored = materialised(split)
    tokens = data.array(part_name(stored))
    if tokens.ndim != 1 or num_sequences(len(tokens)) < data.counts[stored]:
        raise data.incomplete(stored, "sequences")
    return tokens


def vocabulary(data: PreparedData) -> str:
    """The characters in the order of their numbers: the most frequent one is number 0."""
    return str(data.fact(VOCABULARY, str))
