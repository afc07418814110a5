"""The official archives: which corpora make which split, and how their lines are read.

What is kept, and where the files lie, is as in tensorflow-datasets' `wmt17_translate`
(train) and `wmt14_translate` (validation, test), versions 1.0.0, from which the
published benchmark reads.
"""

import contextlib
import functools
import gzip
import itertools
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from algoperf import input_files
from algoperf.definition import Split
from algoperf.download import Progress, checksum, no_progress
from algoperf.errors import BadData
from algoperf.tfds import stored_order


@dataclass(frozen=True)
class Archive:
    """One archive to download. Size and checksum as tensorflow-datasets knows them."""

    url: str
    size_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


_EUROPARL = Archive(
    "https://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
    657_632_379,
    "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
)
_COMMON_CRAWL = Archive(
    "https://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
    918_311_367,
    "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
)
_NEWS_COMMENTARY = Archive(
    "https://data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz",
    168_591_139,
    "2b45f30ef1d550d302fd17dd3a5cbe19134ccc4c2cf50c2dae534aee600101a2",
)
_RAPID = Archive(
    "https://data.statmt.org/wmt18/translation-task/rapid2016.tgz",
    161_050_516,
    "41557dd5d8f0ed3a6d98bce3b798b1a9d3b68361eb99d902329ddbb943a6b55a",
)
_DEV = Archive(
    "https://data.statmt.org/wmt19/translation-task/dev.tgz",
    38_654_961,
    "7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7",
)
ARCHIVES = (_EUROPARL, _COMMON_CRAWL, _NEWS_COMMENTARY, _RAPID, _DEV)


@dataclass(frozen=True)
class Corpus:
    """Two files of an archive whose lines (or `seg` elements) belong together."""

    name: str  # as tensorflow-datasets calls it
    archive: Archive
    german: str
    english: str


CORPORA: dict[Split, tuple[Corpus, ...]] = {
    "train": (
        Corpus(
            "europarl_v7",
            _EUROPARL,
            "training/europarl-v7.de-en.de",
            "training/europarl-v7.de-en.en",
        ),
        Corpus(
            "commoncrawl",
            _COMMON_CRAWL,
            "commoncrawl.de-en.de",
            "commoncrawl.de-en.en",
        ),
        Corpus(
            "newscommentary_v12",
            _NEWS_COMMENTARY,
            "training/news-commentary-v12.de-en.de",
            "training/news-commentary-v12.de-en.en",
        ),
        Corpus("rapid_2016", _RAPID, "rapid2016.de-en.de", "rapid2016.de-en.en"),
    ),
    "validation": (
        Corpus("newstest2013", _DEV, "dev/newstest2013.de", "dev/newstest2013.en"),
    ),
    "test": (
        Corpus(
            "newstest2014",
            _DEV,
            "dev/newstest2014-deen-src.de.sgm",
            "dev/newstest2014-deen-ref.en.sgm",
        ),
    ),
}

RAW_HELP = """\
Five archives of the Conference on Machine Translation (WMT), 1.9 GB, or what they hold:
  training-parallel-europarl-v7.tgz   training-parallel-commoncrawl.tgz
  training-parallel-nc-v12.tgz        rapid2016.tgz        dev.tgz
From https://www.statmt.org/wmt13/, https://data.statmt.org/wmt17/translation-task/,
.../wmt18/translation-task/ and .../wmt19/translation-task/. Licences differ by corpus
(Europarl, Common Crawl, News Commentary, Rapid, newstest): see
https://www.statmt.org/wmt17/translation-task.html."""

_SEGMENT = re.compile(r'<seg id="\d+">(.*)</seg>')
_MAX_LINE_BYTES = 1 << 20  # far more than any sentence has
_BLOCK_BYTES = 1 << 20


class RawFiles:
    """The raw files in a folder: archives, or files that were unpacked from them."""

    def __init__(self, folder: Path) -> None:
        input_files.check_raw_folder(folder, RAW_HELP)
        self._folder = folder
        for corpora in CORPORA.values():
            for corpus in corpora:
                self._check_there(corpus)

    def verify(self, progress: Progress = no_progress) -> None:
        """Reads every archive once; `BadData` names one that is cut off or damaged.

        Whoever stops reading behind the files that he wants would not notice.
        """
        for archive in ARCHIVES:
            path = self._folder / archive.name
            if not input_files.is_file(path):
                continue
            if path.stat().st_size != archive.size_bytes:
                _read_to_the_end(path)
            elif checksum(path, progress=progress) != archive.sha256:
                raise BadData(f"{path} is cut off or damaged. {input_files.GET_AGAIN}")

    def sizes(self) -> dict[str, int]:
        """Bytes of every raw file that is used, by name."""
        paths = {
            self._path(corpus, member)
            for corpora in CORPORA.values()
            for corpus in corpora
            for member in (corpus.german, corpus.english)
        }
        return {
            path.relative_to(self._folder).as_posix(): input_files.size_bytes(path)
            for path in sorted(paths)
        }

    def pairs(self, split: Split) -> Iterator[tuple[str, str]]:
        """German and English of the split's corpora in order, without half-empty pairs.

        Raises `BadData` that names the file and row where the two do not go together.
        """
        return (pair for _, pair in self._keyed_pairs(split))

    def order(self, split: Split) -> np.ndarray:
        """Places of the pairs in the prepared order: int64 [pairs].

        It is that of tensorflow-datasets, from which the published benchmark reads: by a
        hash of each pair's corpus and row.
        """
        return stored_order((key for key, _ in self._keyed_pairs(split)), split)

    def _keyed_pairs(self, split: Split) -> Iterator[tuple[str, tuple[str, str]]]:
        """The pairs with the keys that tensorflow-datasets gives them."""
        for corpus in CORPORA[split]:
            sides = (
                self._sentences(corpus, corpus.german),
                self._sentences(corpus, corpus.english),
            )
            for row, (german, english) in enumerate(itertools.zip_longest(*sides), 1):
                if german is None or english is None:
                    shorter = corpus.german if german is None else corpus.english
                    raise BadData(
                        f"{self._shown(corpus, shorter)} ends after {row - 1:,} "
                        "sentences; the file of the other language has more. They do "
                        "not belong together, or it is cut off: get both again."
                    )
                if german and english:
                    yield f"{corpus.name}/0/{row - 1}", (german, english)

    def _sentences(self, corpus: Corpus, member: str) -> Iterator[str]:
        lines = self._lines(corpus, member)
        if not member.endswith(".sgm"):
            return lines
        return _segments(lines, self._shown(corpus, member))

    def _lines(self, corpus: Corpus, member: str) -> Iterator[str]:
        """Lines without their end; only a line feed ends one."""
        shown, row = self._shown(corpus, member), 0
        position = lambda: f" after row {row:,}"  # noqa: E731
        with (
            input_files.reading_archive(shown, position),
            self._opened(corpus, member) as file,
        ):
            read = functools.partial(file.readline, _MAX_LINE_BYTES)
            for row, line in enumerate(iter(read, b""), 1):
                if len(line) == _MAX_LINE_BYTES:
                    raise BadData(
                        f"{shown}, row {row:,} has more than {_MAX_LINE_BYTES:,} bytes; "
                        f"it is no sentence. {input_files.GET_AGAIN}"
                    )
                try:
                    text = line.removesuffix(b"\n").decode()
                except UnicodeDecodeError as error:
                    raise BadData(
                        f"{shown}, row {row:,} is not UTF-8 text ({error.reason}). "
                        f"{input_files.GET_AGAIN}"
                    ) from error
                yield text

    @contextlib.contextmanager
    def _opened(self, corpus: Corpus, member: str) -> Iterator[BinaryIO]:
        path = self._path(corpus, member)
        if path.name != corpus.archive.name:
            with input_files.opened(path) as plain:
                yield plain
            return
        with path.open("rb") as packed, tarfile.open(fileobj=packed) as archive:
            for entry in archive:
                # `removeprefix`: some archives name their files ./like-this.
                if entry.isfile() and entry.name.removeprefix("./") == member:
                    file = archive.extractfile(entry)
                    assert file is not None  # as it is a file
                    with file:
                        yield file  # type: ignore[misc]
                    return
        raise BadData(f"{path} holds no file {member}. {input_files.GET_AGAIN}")

    def _path(self, corpus: Corpus, member: str) -> Path:
        unpacked = self._folder / member
        return (
            unpacked
            if input_files.is_file(unpacked)
            else self._folder / corpus.archive.name
        )

    def _shown(self, corpus: Corpus, member: str) -> str:
        path = self._path(corpus, member)
        is_packed = path.name == corpus.archive.name
        return f"{path}, its {member}" if is_packed else str(path)

    def _check_there(self, corpus: Corpus) -> None:
        for member in (corpus.german, corpus.english):
            if not input_files.is_file(self._path(corpus, member)):
                name = corpus.archive.name
                raise input_files.not_found(
                    self._folder,
                    f"neither {name} nor its {member}",
                    RAW_HELP,
                    name=name,
                    expected={archive.name for archive in ARCHIVES},
                )


def _read_to_the_end(path: Path) -> None:
    """Unpacks a file to its end, where its checksum stands; `BadData` if it is wrong."""
    with input_files.opened_archive(path) as packed, gzip.open(packed) as file:
        while file.read(_BLOCK_BYTES):
            pass


def _segments(lines: Iterable[str], shown: str) -> Iterator[str]:
    """The text of `seg` elements, one a line; other lines are the file's frame."""
    row = found = 0
    for row, line in enumerate(lines, 1):
        match = _SEGMENT.match(line)
        if match:
            found += 1
            yield match.group(1)
        elif "<seg" in line:
            raise BadData(
                f"{shown}, row {row:,} is no whole <seg> element. {input_files.GET_AGAIN}"
            )
    if not found:
        raise BadData(
            f"{shown} has {row:,} rows but no <seg> element. {input_files.GET_AGAIN}"
        )
