"""The text of War and Peace -> prepared data.

The names that every data set's `prepare.py` has are explained in `datasets/mnist`.
"""

from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.datasets.fineweb_edu import novels
from algoperf.definition import Split, Splits
from algoperf.download import Progress, no_progress
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from . import text
from .reader import (
    FORMAT_VERSION,
    SEQUENCE_LENGTH,
    VOCABULARY,
    num_sequences,
    part_name,
)

__all__ = [
    "FORMAT_VERSION",
    "MINI_SPLITS",
    "RAW_HELP",
    "SPLITS",
    "expand_embedded",
    "prepare",
    "space_needed",
]

RAW_HELP = """\
War and Peace by Leo Tolstoy in English, one file war_and_peace.txt (3.3 MB), or whatever its
name if it is the only .txt file. From https://www.gutenberg.org/ebooks/2600 (Plain Text),
with or without Project Gutenberg's header and footer; in the public domain in the USA.
Project Gutenberg asks that programs do not download from its site. Editions differ: the
text that results were published for has 3,266,185 characters, 83 different ones."""

# Sequences in whole batches of 50 rows, as published.
SPLITS = Splits(train=52_250, eval_train=52_250, validation=13_050, test=13_050)
MINI_SPLITS = Splits(train=7_450, eval_train=7_450, validation=1_850, test=1_850)

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_OVERHEAD_BYTES = 8192  # headers and the manifest


def expand_embedded(raw: Path) -> None:
    """Writes Jane Austen's Persuasion, 466,853 characters. It is not War and Peace.

    See `datasets/fineweb_edu/embedded/NOTICE` for its source and licence.
    """
    raw.mkdir(parents=True, exist_ok=True)
    content = novels.read()[novels.VALIDATION]
    (raw / "persuasion.txt").write_text(content, "utf-8", newline="\n")


def space_needed(raw: Path | None, subset: int | None = None) -> int:
    """Bytes of the prepared data: one for each character."""
    if raw is None:
        return text.OFFICIAL_CHARACTERS + _OVERHEAD_BYTES
    size = input_files.size_bytes(text.find(raw, RAW_HELP))
    if subset is not None:
        size = min(size, 2 * (subset * SEQUENCE_LENGTH + 1))
    return size + _OVERHEAD_BYTES


def prepare(
    raw: Path,
    preparation: Preparation,
    *,
    splits: Splits,
    subset: int | None = None,
    progress: Progress = no_progress,
) -> None:
    """Writes the numbers of the characters: the first four fifths train, the rest test."""
    path = text.find(raw, RAW_HELP)
    content = text.recognised(path, text.read(path))
    # The name and the size of a cleaned text say nothing that its characters do not.
    preparation.identify(characters=len(content))
    vocabulary = text.vocabulary_of(content)
    tokens = text.numbered(content, vocabulary)
    begin = text.test_begin(len(tokens))
    parts: dict[Split, np.ndarray] = {"train": tokens[:begin], "test": tokens[begin:]}
    _check_lengths(path, parts, splits)
    for split, part in parts.items():
        name = part_name(split)
        if not preparation.has(name):
            kept = part if subset is None else part[: subset * SEQUENCE_LENGTH + 1]
            with preparation.part(name) as temporary, temporary.open("wb") as file:
                np.save(file, kept)
        progress(f"preparing {split}", len(part), len(part))
    counts: dict[str, int] = {
        split: min(splits.size(split), subset or splits.size(split))
        for split in _SPLITS
    }
    preparation.finish(counts, facts={VOCABULARY: vocabulary})


def _check_lengths(path: Path, parts: dict[Split, np.ndarray], splits: Splits) -> None:
    """`BadData` where the text is shorter than the examples that are asked for."""
    needed = {"train": splits.train, "test": max(splits.test, splits.validation)}
    for split, part in parts.items():
        found = num_sequences(len(part))
        if found < needed[split]:
            raise BadData(
                f"{path} has {found:,} sequences of {SEQUENCE_LENGTH} characters for "
                f"{split}; {needed[split]:,} are expected. Get War and Peace; the small "
                "shipped text serves the _mini workloads only."
            )
