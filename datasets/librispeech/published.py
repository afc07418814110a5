"""The published benchmark's form: arrays of samples and of tokens for each utterance.

`<set>/<utterance>_audio.npy` holds 16-bit values in wider integers, `_targets.npy` the
tokens with `</s>` at the end, `<set>.csv` the utterances. The tokenizer is
`spm_model.vocab`, which is a SentencePiece model for all its name. Only utterances within
the length limits are there.
"""

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.errors import BadData

from .raw import Chapter
from .tokenizer import END, Tokenizer

TOKENIZER = "spm_model.vocab"
_AUDIO, _TARGETS = "_audio.npy", "_targets.npy"
_UTTERANCE = re.compile(r"(\d+-\d+)-\d+")
_MAX_FILE_BYTES = 100_000_000  # 320,000 samples of 8 bytes are 2.6 MB
_AGAIN = "Copy it again from where the published benchmark prepared it."


@dataclass(frozen=True)
class PublishedSet:
    """One set, such as `train-clean-100`. size_bytes: of its files, for progress."""

    folder: Path
    tokenizer: Tokenizer
    utterances: tuple[str, ...]  # sorted

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return input_files.size_bytes(self.folder)

    def chapters(
        self, on_bytes: Callable[[int], None] = lambda _: None
    ) -> Iterator[Chapter]:
        """The utterances, chapter by chapter, with the text that their tokens make."""
        done = 0
        for _, group in itertools.groupby(self.utterances, _chapter_of):
            texts, audio, shown = {}, {}, {}
            for utterance in group:
                shown[utterance] = str(self.folder / f"{utterance}{_AUDIO}")
                texts[utterance] = self._text(utterance)
                audio[utterance] = self._samples(utterance)
                done += 4 * audio[utterance].nbytes
                on_bytes(done)
            yield Chapter(texts, audio, shown)

    def _text(self, utterance: str) -> str:
        path = self.folder / f"{utterance}{_TARGETS}"
        tokens = _load(path)
        is_good = tokens.ndim == 1 and tokens.dtype.kind in "iu" and len(tokens) > 1
        if not is_good or tokens[-1] != END or tokens.max() >= self.tokenizer.size:
            raise BadData(
                f"{path} does not hold tokens of {TOKENIZER} that end with {END}. {_AGAIN}"
            )
        ids = tokens[:-1].tolist()
        (text,) = self.tokenizer.decode([ids])
        if self.tokenizer.encode([text]) != [[*ids, END]]:
            raise BadData(
                f"{path} holds tokens that {TOKENIZER} does not make of their text "
                f"{text[:40]!r}. The two do not belong together: copy both again."
            )
        return text

    def _samples(self, utterance: str) -> np.ndarray:
        path = self.folder / f"{utterance}{_AUDIO}"
        samples = _load(path)
        is_good = samples.ndim == 1 and samples.dtype.kind in "iu" and len(samples) > 0
        if not is_good or samples.min() < -(2**15) or samples.max() >= 2**15:
            raise BadData(f"{path} does not hold samples of 16 bits. {_AGAIN}")
        return samples.astype(np.int16)


def find(raw: Path, name: str, tokenizer: Tokenizer | None) -> PublishedSet | None:
    """A set in the published form; None where `raw` has none of that name.

    tokenizer: of `raw`; a set without it cannot be read.
    """
    folder = raw / name
    if not input_files.is_folder(folder):
        return None
    audio = [
        entry.path.name.removesuffix(_AUDIO)
        for entry in input_files.entries(folder)
        if entry.path.name.endswith(_AUDIO)
    ]
    if not audio:
        return None
    if tokenizer is None:
        raise BadData(
            f"{raw} has {name} in the published benchmark's form, but no {TOKENIZER}, "
            f"which its tokens need. Copy that file too."
        )
    listed = _listed(raw, name)
    missing = set(listed or audio) - set(audio)
    if missing:
        raise BadData(
            f"{folder} has no {min(missing)}{_AUDIO}, which {name}.csv lists. {_AGAIN}"
        )
    utterances = sorted(listed or audio)
    for utterance in utterances:
        if not _UTTERANCE.fullmatch(utterance):
            raise BadData(
                f"{folder / (utterance + _AUDIO)} is not named after an utterance such as "
                "103-1240-0000. Move it away."
            )
    return PublishedSet(folder, tokenizer, tuple(utterances))


def open_tokenizer(raw: Path) -> tuple[bytes, Tokenizer] | None:
    """The tokenizer that lies beside the data, and its bytes; None if there is none."""
    path = raw / TOKENIZER
    if not input_files.is_file(path):
        return None
    with input_files.opened(path) as file:
        model = file.read(_MAX_FILE_BYTES)
    try:
        return model, Tokenizer(model)
    except RuntimeError as error:
        raise BadData(
            f"{path} is no SentencePiece model ({input_files.in_one_line(error)}). {_AGAIN}"
        ) from error


def _listed(raw: Path, name: str) -> list[str]:
    """The utterances that `<set>.csv` lists; none where there is no such file."""
    found = input_files.first_of(raw, f"{name}.csv", f"{name}/{name}.csv")
    if found is None or found.is_folder:
        return []
    with input_files.opened(found.path, _AGAIN) as file:
        text = file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    rows: Iterator[Mapping[str, str]] = csv.DictReader(io.StringIO(text))
    listed = [row.get("id") or "" for row in rows]
    if not all(map(_UTTERANCE.fullmatch, listed)):
        raise BadData(
            f"{found.path} does not list utterances in a column 'id'. {_AGAIN}"
        )
    return listed


def _chapter_of(utterance: str) -> str:
    return utterance.rpartition("-")[0]


def _load(path: Path) -> np.ndarray:
    with input_files.opened(path, _AGAIN) as file:
        content = file.read(_MAX_FILE_BYTES)
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # numpy raises anything for damaged files
        raise BadData(
            f"{path} is damaged ({input_files.in_one_line(error)}). {_AGAIN}"
        ) from error
    if not isinstance(array, np.ndarray):
        raise BadData(f"{path} is no .npy file. {_AGAIN}")
    return array
