"""The official layout: chapters of FLAC files and a transcript, in an archive or a folder."""

import gzip
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from algoperf.errors import BadData, near

from .reader import SETS

ALL_SETS = tuple(name for names in SETS.values() for name in names)
_REMEDY = "Delete it and get the official file again."
_MEMBER = re.compile(r"(?:^|/)(\d+)/(\d+)/([^/]+)$")
_SET = re.compile(r"(?:^|/)((?:train|dev|test)-[a-z]+(?:-\d+)?)/")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Chapter:
    """One chapter by one speaker, complete: as many recordings as transcripts."""

    texts: Mapping[str, str]  # by utterance id, sorted
    audio: Mapping[str, bytes]  # FLAC files, by utterance id
    shown: Mapping[str, str]  # what errors call them

    @property
    def size_bytes(self) -> int:
        """Size of the FLAC files."""
        return sum(map(len, self.audio.values()))


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
        if file_name == f"{self.name}.trans.txt":
            self.texts = _parse(content, self.name, shown)
            self.shown_texts = shown
        elif re.fullmatch(rf"{self.name}-\d+\.flac", file_name):
            utterance = file_name.removesuffix(".flac")
            self.audio[utterance] = content
            self.shown[utterance] = shown
        else:
            raise BadData(
                f"{shown} is no file of chapter {self.name}: expected are "
                f"{self.name}-NNNN.flac and {self.name}.trans.txt. {_REMEDY}"
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
                f"{Path(known).parent} has no {self.name}.trans.txt. {_REMEDY}"
            )
        for utterance in sorted(self.texts.keys() ^ self.audio.keys()):
            if utterance in self.texts:
                raise BadData(
                    f"{self.shown_texts} names {utterance}, but there is no "
                    f"{utterance}.flac beside it. {_REMEDY}"
                )
            raise BadData(
                f"{self.shown[utterance]} has no line in {self.name}.trans.txt. "
                f"{_REMEDY}"
            )
        texts = dict(sorted(self.texts.items()))
        audio = {utterance: self.audio[utterance] for utterance in texts}
        return Chapter(texts, audio, self.shown)


def _parse(content: bytes, chapter: str, shown: str) -> dict[str, str]:
    """Texts by utterance, of lines `<utterance> <text>`."""
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BadData(f"{shown} is no text file ({error}). {_REMEDY}") from error
    texts: dict[str, str] = {}
    for row, line in enumerate(lines, start=1):
        utterance, _, text = line.partition(" ")
        if not re.fullmatch(rf"{chapter}-\d+", utterance) or not text.strip():
            raise BadData(
                f"{shown}, row {row} is {line!r}; expected is an utterance's id "
                f"({chapter}-NNNN), a space and its words. {_REMEDY}"
            )
        if utterance in texts:
            raise BadData(f"{shown}, row {row} names {utterance} again. {_REMEDY}")
        texts[utterance] = text
    return texts


def find(raw: Path, name: str) -> Path:
    """The archive, or else the unpacked folder, of an official set in `raw`."""
    for path in (raw / f"{name}.tar.gz", raw / "LibriSpeech" / name, raw / name):
        if path.is_dir() or path.is_file():
            return path
    there = sorted(path.name for path in raw.iterdir()) if raw.is_dir() else []
    official = {f"{known}.tar.gz" for known in ALL_SETS} | set(ALL_SETS)
    hint = near(f"{name}.tar.gz", [other for other in there if other not in official])
    raise BadData(
        f"{raw} has neither {name}.tar.gz nor a folder LibriSpeech/{name}.{hint} It "
        f"has: {', '.join(there) or 'nothing'}."
    )


def size_bytes(source: Path) -> int:
    """Size of an archive, or of the files in a folder."""
    if source.is_file():
        return source.stat().st_size
    return sum(path.stat().st_size for path in source.rglob("*") if path.is_file())


def chapters(
    source: Path, name: str, on_bytes: Callable[[int], None] = lambda _: None
) -> Iterator[Chapter]:
    """The chapters of a set, in the order of the archive; of a folder, sorted by name.

    on_bytes: gets the number of bytes of `source` read so far.
    """
    files = _folder_files(source) if source.is_dir() else _archive_files(source, name)
    unfinished: dict[str, _Unfinished] = {}
    finished: set[str] = set()
    for path, content, shown, position in files:
        on_bytes(position)
        match = _MEMBER.search(path)
        if match is None:
            _check_stray(path, shown)
            continue
        chapter = f"{match[1]}-{match[2]}"
        if chapter in finished:
            raise BadData(
                f"{shown} is one file too many: chapter {chapter} is complete without "
                f"it. {_REMEDY}"
            )
        entry = unfinished.setdefault(chapter, _Unfinished(chapter))
        entry.add(match[3], content, shown)
        if entry.is_complete:
            finished.add(chapter)
            yield unfinished.pop(chapter).finished()
    for entry in unfinished.values():
        yield entry.finished()  # raises: something is missing


def _check_stray(path: str, shown: str) -> None:
    if path.endswith((".flac", ".trans.txt")):
        raise BadData(
            f"{shown} is not in a folder <speaker>/<chapter>/, as the official files "
            f"are. {_REMEDY}"
        )


def _folder_files(folder: Path) -> Iterator[tuple[str, bytes, str, int]]:
    """Path, content and name of each file, and the bytes read so far."""
    position = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        position += len(content)
        yield path.relative_to(folder).as_posix(), content, str(path), position


def _archive_files(archive: Path, name: str) -> Iterator[tuple[str, bytes, str, int]]:
    """As `_folder_files`, streamed from the archive, whose checksum is compared."""
    try:
        with archive.open("rb") as packed, gzip.open(packed, "rb") as unpacked:
            with tarfile.open(fileobj=unpacked, mode="r|") as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isfile() else None
                    if file is None:
                        continue
                    shown = f"{archive}: {member.name}"
                    _check_set(member.name, name, archive)
                    yield member.name, file.read(), shown, packed.tell()
            while unpacked.read(_BLOCK_BYTES):  # to the checksum at the end
                pass
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadData(
            f"{archive} is cut off or damaged ({error}). {_REMEDY}"
        ) from error


def _check_set(member: str, name: str, archive: Path) -> None:
    match = _SET.search(member)
    if match is not None and match[1] != name:
        raise BadData(
            f"{archive} holds {match[1]}, not {name} (its member {member}). Was it "
            "renamed? Get the official files again."
        )
