"""A small data set in the official layout, for the tests of LibriSpeech."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.datasets.librispeech import clips, prepare, reader
from algoperf.definition import Splits
from algoperf.prepared import Preparation, PreparedData

TEXT = (
    "THE QUICK BROWN FOX JUMPS OVER A LAZY DOG WHILE MISTER DASHWOOD HAD THEN LEISURE "
    "TO CONSIDER HOW MUCH THERE MIGHT PRUDENTLY BE IN HIS POWER TO DO FOR THEM IT'S "
    "NOT AN ILL DISPOSED YOUNG MAN UNLESS RATHER COLD HEARTED AND SELFISH EXTRA ZEAL"
)
# Utterances of each set that the filters keep; each has two more that they drop.
KEPT = {
    "train-clean-100": 12,
    "train-clean-360": 4,
    "train-other-500": 4,
    "dev-clean": 3,
    "dev-other": 3,
    "test-clean": 5,
}
SPLITS = Splits(train=20, eval_train=6, validation=6, test=5)
TOO_LONG_SAMPLES, TOO_LONG_TEXT = 320_001, "A" * 257


def text_of(number: int) -> str:
    rng = np.random.default_rng(number)
    return " ".join(rng.choice(TEXT.split(), 8))


def samples_of(number: int, length: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(number)
    length = length or int(rng.integers(500, 2_000))
    return rng.integers(-(2**15), 2**15, length).astype(np.int16)


def first_number(name: str) -> int:
    """The number of a set's first utterance; the others follow."""
    return 100 * list(KEPT).index(name)


def members_of(name: str, kept: int) -> dict[str, bytes]:
    """Files of a set: two chapters of speaker 9, one of speaker 10, then transcripts.

    The names do not sort as the numbers do; two utterances exceed a limit.
    """
    first = first_number(name)
    files: dict[str, bytes] = {}
    lines: dict[str, str] = {}
    for i in range(kept + 2):
        speaker, chapter = (("9", "20"), ("9", "3"), ("10", "7"))[i % 3]
        utterance = f"{speaker}-{chapter}-{i:04d}"
        folder = f"LibriSpeech/{name}/{speaker}/{chapter}"
        too_long = TOO_LONG_SAMPLES if i == kept else None
        text = TOO_LONG_TEXT if i == kept + 1 else text_of(first + i)
        files[f"{folder}/{utterance}.flac"] = clips.flac(
            samples_of(first + i, too_long)
        )
        transcripts = f"{folder}/{speaker}-{chapter}.trans.txt"
        lines[transcripts] = lines.get(transcripts, "") + f"{utterance} {text}\n"
    return {**files, **{name: text.encode() for name, text in lines.items()}}


def write_raw(folder: Path, sets: Mapping[str, dict[str, bytes]]) -> Path:
    for name, files in sets.items():
        clips.write_archive(folder / f"{name}.tar.gz", files)
    return folder


def unpacked(folder: Path, sets: Mapping[str, dict[str, bytes]]) -> Path:
    """The same data as folders."""
    for files in sets.values():
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return folder


def run(
    raw: Path,
    folder: Path,
    splits: Splits = SPLITS,
    subset: int | None = None,
    **options: Any,
) -> PreparedData:
    """Prepares `raw` into `folder`; `options` are those of `prepare.prepare`."""
    with Preparation(
        folder,
        dataset="librispeech",
        format_version=reader.FORMAT_VERSION,
        subset=subset,
    ) as preparation:
        prepare.prepare(raw, preparation, splits=splits, subset=subset, **options)
    return PreparedData.open(
        folder, dataset="librispeech", allow_partial=True, verify=True
    )
