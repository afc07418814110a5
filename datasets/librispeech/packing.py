"""Packs the recordings of one official set into files of 16-bit audio, part by part.

A set becomes files `<set>-NNNN.pcm` of whole chapters, each with a table `<set>-NNNN.json`
of its utterances, and finally `<set>.json`, which says how many there are. Where a file
ends is decided by the size of the FLAC files, so that a resumed preparation passes over
finished ones without decoding them.
"""

import concurrent.futures
import itertools
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import TypeAlias

import numpy as np

from algoperf.download import Progress
from algoperf.prepared import Preparation

from . import audio
from .raw import Chapter, RawSet
from .reader import AUDIO_DTYPE

# Filters of the published benchmark, in all splits.
MAX_SAMPLES = 320_000  # 20 s
MAX_CHARACTERS = 256
FILE_BYTES = 1 << 29  # of FLAC files; about twice as much packed audio

# Id, text, length and samples (None if filtered out) of an utterance.
_Decoded: TypeAlias = tuple[str, str, int, np.ndarray | None]


@dataclass(frozen=True)
class Row:
    """One utterance of a set, kept or not."""

    utterance: str
    text: str
    num_samples: int
    file: int  # number of the set's file
    start: int  # in samples of that file; -1: not kept

    @property
    def is_kept(self) -> bool:
        """Whether its audio is in the file."""
        return self.start >= 0


def audio_name(set_name: str, number: int) -> str:
    """The part with packed audio: int16 values of one utterance after the other."""
    return f"{set_name}-{number:04d}.pcm"


def _table_name(set_name: str, number: int) -> str:
    return f"{set_name}-{number:04d}.json"


class Packing:
    """Packs sets with a pool of threads; the first error stops it."""

    def __init__(
        self, preparation: Preparation, progress: Progress, *, file_bytes: int
    ) -> None:
        self._preparation = preparation
        self._progress = progress
        self._file_bytes = file_bytes
        self._num_workers = os.cpu_count() or 1
        self._pool = concurrent.futures.ThreadPoolExecutor(self._num_workers)

    def __enter__(self) -> "Packing":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def pack(
        self, source: RawSet, name: str, *, limit: int | None, needs_all_texts: bool
    ) -> list[Row]:
        """Rows of all utterances of a set, in the order of `source`.

        limit: keep no more than so many, and then read on for the texts only if
        `needs_all_texts`.
        """
        number_of_files = self._finished(name)
        if number_of_files is None:
            number_of_files = self._pack(source, name, limit, needs_all_texts)
            with self._preparation.part(f"{name}.json") as path:
                path.write_text(json.dumps({"files": number_of_files}), "utf-8")
        rows = (self._read_table(name, number) for number in range(number_of_files))
        return list(itertools.chain.from_iterable(rows))

    def _finished(self, name: str) -> int | None:
        """The number of files of a set that is packed; None if something is missing."""
        if not self._preparation.has(f"{name}.json"):
            return None
        summary = self._preparation.destination / f"{name}.json"
        number_of_files = int(json.loads(summary.read_text("utf-8"))["files"])
        numbers = range(number_of_files)
        return number_of_files if all(self._has(name, n) for n in numbers) else None

    def _has(self, name: str, number: int) -> bool:
        has = self._preparation.has
        return has(audio_name(name, number)) and has(_table_name(name, number))

    def _read_table(self, name: str, number: int) -> list[Row]:
        path = self._preparation.destination / _table_name(name, number)
        return [Row(*row) for row in json.loads(path.read_text("utf-8"))]

    def _pack(
        self, source: RawSet, name: str, limit: int | None, needs_all_texts: bool
    ) -> int:
        """Writes the files that are not finished yet; the number of all."""
        total = source.size_bytes

        def report(done: int) -> None:
            self._progress(f"packing {name}", done, total)

        kept, number = 0, -1
        chapters = source.chapters(report)
        for number, group in _groups(chapters, self._file_bytes):
            if not self._has(name, number):
                left = None if limit is None else limit - kept
                self._write(name, number, group, left, needs_all_texts)
            kept += sum(row.is_kept for row in self._read_table(name, number))
            if limit is not None and kept >= limit and not needs_all_texts:
                break
        self._progress(f"packing {name}", total, total)
        return number + 1

    def _write(
        self,
        name: str,
        number: int,
        chapters: Iterator[Chapter],
        limit: int | None,
        needs_all_texts: bool,
    ) -> None:
        """Writes one file of packed audio, and its table."""
        rows: list[Row] = []
        position = kept = 0
        part = self._preparation.part(audio_name(name, number))
        with part as path, path.open("wb") as file:
            for utterance, text, length, samples in self._decoded(chapters):
                is_full = limit is not None and kept >= limit
                if is_full and not needs_all_texts:
                    break
                start = -1
                if samples is not None and not is_full:
                    file.write(samples.astype(AUDIO_DTYPE, copy=False).data)
                    start, position, kept = position, position + length, kept + 1
                rows.append(Row(utterance, text, length, number, start))
        with self._preparation.part(_table_name(name, number)) as path:
            path.write_text(json.dumps([astuple(row) for row in rows]), "utf-8")

    def _decoded(self, chapters: Iterable[Chapter]) -> Iterator[_Decoded]:
        """The utterances of chapters, in order.

        A few chapters are decoded ahead, so that memory stays bounded.
        """
        waiting: deque[concurrent.futures.Future[list[_Decoded]]] = deque()
        for chapter in chapters:
            waiting.append(self._pool.submit(_decode_chapter, chapter))
            if len(waiting) > 2 * self._num_workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _groups(
    chapters: Iterator[Chapter], file_bytes: int
) -> Iterator[tuple[int, Iterator[Chapter]]]:
    """Number and chapters of each file; chapters that nobody draws are passed over."""
    total = 0

    def number_of(chapter: Chapter) -> int:
        nonlocal total
        number = total // file_bytes
        total += chapter.size_bytes
        return number

    numbered = itertools.groupby(chapters, number_of)
    # A chapter larger than a file would leave numbers out.
    return ((number, group) for number, (_, group) in enumerate(numbered))


def _decode_chapter(chapter: Chapter) -> list[_Decoded]:
    decoded: list[_Decoded] = []
    for utterance, text in chapter.texts.items():
        limit = MAX_SAMPLES if len(text) <= MAX_CHARACTERS else 0
        content, samples = chapter.audio[utterance], None
        if isinstance(content, np.ndarray):
            length = len(content)
            samples = content if length <= limit else None
        else:
            length, samples = audio.read_flac(
                content, chapter.shown[utterance], max_samples=limit
            )
        decoded.append((utterance, text, length, samples))
    return decoded
