"""The official layout: chapters of FLAC files and a transcript, in an archive or a folder."""

import gzip
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from algoperf import input_files
from algoperf.errors import BadData

from .reader import SETS

ALL_SETS = tuple(name for names in SETS.values() for name in names)
_MEMBER = re.compile(r"(?:^|/)(\d+)/(\d+)/([^/]+)$")
_SET = re.compile(r"(?:^|/)((?:train|dev|test)-[a-z]+(?:-\d+)?)/")
_BLOCK_BYTES = 1 << 20
_MAX_FILE_BYTES = 100_000_000


@dataclass(frozen=True)
class Chapter:
    """One chapter by one speaker, complete: as many recordings as transcripts."""

    texts: Mapping[str, str]  # by utterance id, sorted
    # By utterance id: FLAC files, or int16 [samples] that were decoded before.
    audio: Mapping[str, bytes | np.ndarray]
    shown: Mapping[str, str]  # what errors call them

    @property
    def size_bytes(self) -> int:
        """Size of the FLAC files or arrays."""
        return sum(
            content.nbytes if isinstance(content, np.ndarray) else len(content)
            for content in self.audio.values()
        )


class RawSet(Protocol):
    """One of the official sets, such as `train-clean-100`."""

    @property
    def size_bytes(self) -> int:
        """Size of its files."""
        ...

    def chapters(self, on_bytes: Callable[[int], None]) -> Iterator[Chapter]:
        """Its chapters. on_bytes: gets the number of bytes read so far."""
        ...


@dataclass(frozen=True)
class OfficialSet:
    """An archive, or the folder that it unpacks to."""

    path: Path
    name: str

    @property
    def size_bytes(self) -> int:
        """Size of the archive, or of all files in the folder."""
        return input_files.size_bytes(self.path)

    def chapters(self, on_bytes: Callable[[int], None]) -> Iterator[Chapter]:
        """In the order of the archive; of a folder, sorted by name."""
        return chapters(self.path, self.name, on_bytes)


@dataclass
class _Unfinished:
    """What is known of a chapter before it is complete."""

    name: str  # `<speaker>-<chapter>`
    audio: dict[str, bytes] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] | None = None
    shown_texts: str = ""

    def add(self, file_name: str, content: bytes, shown: str) -> None:
        """Takes one file; one that does not belong into a chapter is refused."""
        if file_name.lower() == f"{self.name}.trans.txt":
            self.texts = _parse(content, self.name, shown)
            self.shown_texts = shown
        elif re.fullmatch(rf"{self.name}-\d+\.flac", file_name.lower()):
            utterance = file_name[: -len(".flac")]
            self.audio[utterance] = content
            self.shown[utterance] = shown
        else:
            raise BadData(
                f"{shown} is no file of chapter {self.name}: expected are "
                f"{self.name}-NNNN.flac and {self.name}.trans.txt. {input_files.GET_AGAIN}"
            )

    @property
    def is_complete(self) -> bool:
        """Whether every recording has a transcript and the other way round."""
        return self.texts is not None and self.texts.keys() == self.audio.keys()

    def finished(self) -> Chapter:
        """The complete chapter; an error that names what is missing."""
        if self.texts is None:
            known = next(iter(self.shown.values()))
            raise BadData(
                f"{Path(known).parent} has no {self.name}.trans.txt. {input_files.GET_AGAIN}"
            )
        for utterance in sorted(self.texts.keys() ^ self.audio.keys()):
            if utterance in self.texts:
                raise BadData(
                    f"{self.shown_texts} names {utterance}, but there is no "
                    f"{utterance}.flac beside it. {input_files.GET_AGAIN}"
                )
            raise BadData(
                f"{self.shown[utterance]} has no line in {self.name}.trans.txt. "
                f"{input_files.GET_AGAIN}"
            )
        texts = dict(sorted(self.texts.items()))
        audio = {utterance: self.audio[utterance] for utterance in texts}
        return Chapter(texts, audio, self.shown)


def _parse(content: bytes, chapter: str, shown: str) -> dict[str, str]:
    """Texts by utterance, of lines `<utterance> <text>`."""
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadData(
            f"{shown} is no text file ({error}). {input_files.GET_AGAIN}"
        ) from error
    texts: dict[str, str] = {}
    for row, line in enumerate(lines, start=1):
        utterance, _, text = line.partition(" ")
        if not re.fullmatch(rf"{chapter}-\d+", utterance) or not text.strip():
            raise BadData(
                f"{shown}, row {row} is {line!r}; expected is an utterance's id "
                f"({chapter}-NNNN), a space and its words. {input_files.GET_AGAIN}"
            )
        if utterance in texts:
            raise BadData(
                f"{shown}, row {row} names {utterance} again. {input_files.GET_AGAIN}"
            )
        texts[utterance] = text
    return texts


def find(raw: Path, name: str, raw_help: str) -> Path:
    """The archive, or else the unpacked folder, of an official set in `raw`."""
    official = {f"{known}.tar.gz" for known in ALL_SETS} | set(ALL_SETS)
    found = input_files.first_of(raw, f"{name}.tar.gz", f"LibriSpeech/{name}", name)
    if found is not None:
        return found.path
    raise input_files.not_found(
        raw,
        f"neither {name}.tar.gz nor a folder LibriSpeech/{name}",
        raw_help,
        name=f"{name}.tar.gz",
        expected=official,
    )


def chapters(
    source: Path, name: str, on_bytes: Callable[[int], None] = lambda _: None
) -> Iterator[Chapter]:
    """The chapters of a set, in the order of the archive; of a folder, sorted by name.

    on_bytes: gets the number of bytes of `source` read so far.
    """
    is_folder = input_files.is_folder(source)
    found = _folder_files(source) if is_folder else _archive_files(source, name)
    unfinished: dict[str, _Unfinished] = {}
    finished: set[str] = set()
    for path, content, shown, position in found:
        on_bytes(position)
        match = _MEMBER.search(path)
        if match is None:
            _check_stray(path, shown)
            continue
        chapter = f"{match[1]}-{match[2]}"
        if chapter in finished:
            raise BadData(
                f"{shown} is one file too many: chapter {chapter} is complete without "
                f"it. {input_files.GET_AGAIN}"
            )
        entry = unfinished.setdefault(chapter, _Unfinished(chapter))
        entry.add(match[3], content, shown)
        if entry.is_complete:
            finished.add(chapter)
            yield unfinished.pop(chapter).finished()
    for entry in unfinished.values():
        yield entry.finished()  # raises: something is missing


def _check_stray(path: str, shown: str) -> None:
    if path.lower().endswith((".flac", ".trans.txt")):
        raise BadData(
            f"{shown} is not in a folder <speaker>/<chapter>/, as the official files "
            f"are. {input_files.GET_AGAIN}"
        )


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes, str, int]]:
    """Path, content and name of each file, and the bytes read so far."""
    position = 0
    for entry in input_files.files_below(folder):
        path = entry.path
        _check_size(entry.size_bytes, str(path))
        with input_files.opened(path) as file:
            content = file.read()
        position += len(content)
        yield path.relative_to(folder).as_posix(), content, str(path), position


def _archive_files(archive: Path, name: str) -> Iterator[tuple[str, bytes, str, int]]:
    """As `_folder_files`, streamed from the archive, whose checksum is compared."""
    with (
        input_files.opened_archive(archive) as packed,
        gzip.open(packed, "rb") as unpacked,
    ):
        with tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() else None
                if file is None or input_files.is_litter(member.name):
                    continue
                shown = f"{archive}: {member.name}"
                _check_set(member.name, name, archive)
                _check_size(member.size, shown)
                yield member.name, file.read(), shown, packed.tell()
        while unpacked.read(_BLOCK_BYTES):  # to the checksum at the end
            pass


def _check_size(size_bytes: int, shown: str) -> None:
    """A file is read whole, so that a wrong one must not fill the memory."""
    if size_bytes > _MAX_FILE_BYTES:
        raise BadData(
            f"{shown} has {size_bytes:,} bytes, more than any file of LibriSpeech. "
            f"{input_files.GET_AGAIN}"
        )


def _check_set(member: str, name: str, archive: Path) -> None:
    match = _SET.search(member)
    if match is not None and match[1] != name:
        raise BadData(
            f"{archive} holds {match[1]}, not {name} (its member {member}). Was it "
            "renamed? Get the official files again."
        )
