"""Composes small real speech into the official layout: the data of the `_mini` forms.

Recorded words (see embedded/NOTICE) are put one behind the other to short utterances, as
telephone systems do with these very recordings, each with its own speed, loudness, tone
and noise. The recordings are shared by all splits; a sequence of words is not: what
validation and test say is never said in training.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .audio import soundfile
from .reader import SAMPLE_RATE

EMBEDDED = Path(__file__).parent / "embedded"
TABLE = "clips.json"
MAX_SAMPLES = 32_000  # 2 s
_SEED = 20262
_MAX_WORDS = 3
_PER_CHAPTER = 40  # utterances


@dataclass(frozen=True)
class _Recipe:
    """How the utterances of one official set are made."""

    name: str
    num_utterances: int
    composed: bool  # of the first speaker's words; else a whole recording of the second
    noise: tuple[float, float]  # smallest and largest standard deviation, 16-bit units


# Whoever changes a number changes the mini definitions' splits too.
_RECIPES = (
    _Recipe("test-clean", 160, True, (10, 150)),
    _Recipe("dev-clean", 100, True, (10, 150)),
    _Recipe("dev-other", 60, True, (100, 400)),
    _Recipe("train-clean-100", 700, True, (10, 150)),
    _Recipe("train-clean-360", 300, True, (10, 150)),
    _Recipe("train-other-500", 150, True, (100, 400)),
    # Among the tokenizer's texts, so that no transcript has a character it lacks.
    _Recipe("train-clean-100", 50, False, (10, 150)),
)
_SPEAKERS = {True: ("1", "allison"), False: ("2", "sphinx")}
_SPEEDS = 0.92, 1.22
_LOUDNESS = 0.4, 1.0
_TONE = 0.4  # largest weight of the sample before
_LARGEST_GAP = SAMPLE_RATE // 16


@dataclass(frozen=True)
class Utterance:
    """What is said, in capitals, and its samples: int16 [at most MAX_SAMPLES]."""

    text: str
    samples: np.ndarray


def expand(raw: Path) -> None:
    """Writes the six archives in the official layout; the same words every time."""
    clips = {speaker: read_clips(name) for speaker, name in _SPEAKERS.values()}
    rng = np.random.Generator(np.random.Philox(_SEED))
    said = set(clips[_SPEAKERS[False][0]])
    members: dict[str, dict[str, bytes]] = {}
    for recipe in _RECIPES:
        speaker, _ = _SPEAKERS[recipe.composed]
        made = _utterances(recipe, clips[speaker], said, rng)
        files = _chapters(recipe, speaker, made)
        members.setdefault(recipe.name, {}).update(files)
    for name, files in members.items():
        write_archive(raw / f"{name}.tar.gz", files)


def read_clips(name: str) -> dict[str, np.ndarray]:
    """The recordings of a speaker by their words: float64 [samples], 16-bit units."""
    samples, _ = soundfile().read(EMBEDDED / f"{name}.ogg", dtype="float64")
    table = json.loads((EMBEDDED / TABLE).read_text("utf-8"))
    return {
        text: samples[start : start + length] * 2.0**15
        for text, start, length in table[name]
    }


def write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """Writes a .tar.gz file of members by name, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def flac(samples: np.ndarray) -> bytes:
    """A FLAC file of int16 [samples] at 16 kHz."""
    file = io.BytesIO()
    soundfile().write(file, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _utterances(
    recipe: _Recipe,
    clips: Mapping[str, np.ndarray],
    said: set[str],
    rng: np.random.Generator,
) -> Iterator[Utterance]:
    """Utterances of one recipe; composed ones say what is not in `said` yet."""
    texts = list(clips)
    number = 0
    while number < recipe.num_utterances:
        if recipe.composed:
            length = rng.integers(1, _MAX_WORDS + 1)
            chosen = [texts[i] for i in rng.integers(0, len(texts), length)]
        else:
            chosen = [texts[number % len(texts)]]
        text = " ".join(chosen)
        if recipe.composed and text in said:
            continue
        samples = _join([clips[t] for t in chosen], rng)
        if len(samples) > MAX_SAMPLES:
            continue
        said.add(text)
        number += 1
        yield Utterance(text, _recorded(samples, recipe, rng))


def _join(clips: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The clips one behind the other, at random speed and loudness: float64 [samples]."""
    pieces = [np.zeros(rng.integers(0, _LARGEST_GAP))]
    for clip in clips:
        places = np.arange(0, len(clip) - 1, rng.uniform(*_SPEEDS))
        piece = np.interp(places, np.arange(len(clip)), clip)
        pieces += [rng.uniform(*_LOUDNESS) * piece]
        pieces += [np.zeros(rng.integers(0, _LARGEST_GAP))]
    return np.concatenate(pieces)


def _recorded(
    samples: np.ndarray, recipe: _Recipe, rng: np.random.Generator
) -> np.ndarray:
    """The samples with a random tone and noise: int16 [samples]."""
    samples[1:] += rng.uniform(-_TONE, _TONE) * samples[:-1]
    deviation = np.exp(rng.uniform(*np.log(recipe.noise)))
    samples += deviation * rng.standard_normal(len(samples), np.float32)
    return np.clip(np.round(samples), -(2**15), 2**15 - 1).astype(np.int16)


def _chapters(
    recipe: _Recipe, speaker: str, utterances: Iterator[Utterance]
) -> dict[str, bytes]:
    """Members of the set's archive: FLAC files, then the transcripts, of each chapter."""
    files: dict[str, bytes] = {}
    lines: dict[str, list[str]] = {}
    for number, utterance in enumerate(utterances):
        chapter = str(100 + number // _PER_CHAPTER)
        folder = f"LibriSpeech/{recipe.name}/{speaker}/{chapter}"
        name = f"{speaker}-{chapter}-{number % _PER_CHAPTER:04d}"
        files[f"{folder}/{name}.flac"] = flac(utterance.samples)
        transcripts = f"{folder}/{speaker}-{chapter}.trans.txt"
        lines.setdefault(transcripts, []).append(f"{name} {utterance.text}\n")
    for name, rows in lines.items():
        files[name] = "".join(rows).encode()
    return dict(sorted(files.items()))
