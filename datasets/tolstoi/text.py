"""The text of the novel: found, cleaned and numbered."""

import collections
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.errors import BadData

from .reader import MAX_VOCABULARY

NAME = "war_and_peace.txt"
OFFICIAL_CHARACTERS = 3_266_185
# Jane Austen's Persuasion, which `expand_embedded` writes.
SHIPPED_SHA256 = "726513a6c18bb678427bcbcf7c72d0d20816a67c25b0471b26ddcabf3ebac140"
_MAX_BYTES = 100_000_000  # what is larger is no novel
_START = re.compile(r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG.*$", re.M)
_END = re.compile(r"^\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG.*$", re.M)


def find(raw: Path, raw_help: str) -> Path:
    """The text file in the folder: by its name, or the only `.txt` file."""
    input_files.check_raw_folder(raw, raw_help)
    if input_files.is_file(raw / NAME):
        return raw / NAME
    entries = input_files.entries(raw)
    files = [entry.path for entry in entries if not entry.is_folder]
    texts = [path for path in files if path.suffix.lower() == ".txt"]
    if len(texts) == 1:
        return texts[0]
    lacks = "several .txt files" if texts else "no file " + NAME
    raise input_files.not_found(raw, lacks, raw_help, name=NAME)


def read(path: Path) -> str:
    """The text as it stands in the file, UTF-8."""
    with input_files.opened(path) as file:
        content = file.read(_MAX_BYTES)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadData(
            f"{path} is no UTF-8 text (byte {error.start:,}). {input_files.GET_AGAIN}"
        ) from error


def cleanings(text: str) -> Iterator[tuple[str, str]]:
    """Names and results of the cleanings of a text, from none to all of them.

    Line ends become `\\n` and a byte order mark goes; then what stands before and behind
    the novel in Project Gutenberg's files; then blank lines at both ends.
    """
    yield "as it is", text
    unified = text.removeprefix("\ufeff").replace("\r\n", "\n")
    yield "with unified line ends", unified
    start, end = _START.search(unified), _END.search(unified)
    if start and end and start.end() < end.start():
        novel = unified[start.end() : end.start()]
        yield "without Project Gutenberg's header and footer", novel
        yield "and without blank lines at both ends", novel.strip() + "\n"
        yield "and without the last line end", novel.strip()


def recognised(path: Path, text: str) -> str:
    """The published text, cleaned, or the shipped one; `BadData` for any other."""
    if hashlib.sha256(text.encode()).hexdigest() == SHIPPED_SHA256:
        return text
    found = []
    for name, cleaned in cleanings(text):
        num_different = len(set(cleaned))
        if (len(cleaned), num_different) == (OFFICIAL_CHARACTERS, MAX_VOCABULARY):
            return cleaned
        found.append(f"{name}, {len(cleaned):,} characters, {num_different} different")
    raise BadData(
        f"{path} is not the edition of War and Peace that results were published for: "
        f"{OFFICIAL_CHARACTERS:,} characters, {MAX_VOCABULARY} different ones. It has, "
        f"{'; '.join(found)}. Get another edition."
    )


def vocabulary_of(text: str) -> str:
    """The characters of a text, the most frequent first; equals as they first occur."""
    return "".join(char for char, _ in collections.Counter(text).most_common())


def numbered(text: str, vocabulary: str) -> np.ndarray:
    """The number of each character: uint8 [characters]."""
    numbers: Mapping[int, int] = {ord(char): i for i, char in enumerate(vocabulary)}
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    table = np.zeros(max(numbers) + 1, np.uint8)
    table[list(numbers)] = list(numbers.values())
    return table[codes]


def test_begin(num_characters: int) -> int:
    """Where the test text begins: behind four fifths of the characters."""
    return num_characters * 4 // 5
