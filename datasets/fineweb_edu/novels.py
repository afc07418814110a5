"""The shipped text, Jane Austen's six novels, as raw files in FineWeb-Edu's layout."""

import lzma
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .documents import pyarrow
from .reader import TOKENIZER

_EMBEDDED = Path(__file__).parent / "embedded"
PATH = _EMBEDDED / "novels.txt.xz"
MERGES = _EMBEDDED / "novels.vocab.bpe"
TRAIN = ("emma", "mansfieldpark", "prideprejudice", "sensesensibility")
VALIDATION, TEST = "persuasion", "northangerabbey"
NAMES = ("emma", "mansfieldpark", "northangerabbey", VALIDATION, *TRAIN[2:])
_CHAPTER = re.compile(r"^chapter [0-9ivxl]+\.?$", re.IGNORECASE | re.MULTILINE)
# Evaluated are the first words of every chapter: few tokens, from the whole novel.
_PAGE_CHARACTERS = 540


def write(path: Path, novels: Mapping[str, str]) -> None:
    """Writes the shipped file: novels in the order of `NAMES`; the same bytes always."""
    text = "\f".join(novels[name] for name in NAMES)
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def read(path: Path = PATH) -> dict[str, str]:
    """Each novel's text by its name; its lines are as long as those of the source."""
    texts = lzma.decompress(path.read_bytes()).decode().split("\f")
    return dict(zip(NAMES, texts, strict=True))


def chapters(novel: str) -> list[str]:
    """The chapters of a novel, a paragraph a line, without headings and title page."""
    parts = _CHAPTER.split(novel)[1:]
    return ["\n".join(_paragraphs(part)) for part in parts]


def _paragraphs(text: str) -> Iterable[str]:
    for block in re.split(r"\n\s*\n", text):
        words = " ".join(block.split())
        if words and not re.fullmatch(r"volume [ivx]+|finis|the end", words, re.I):
            yield words


def training_texts(novels: Mapping[str, str]) -> list[str]:
    """The chapters that are trained on, and that the tokenizer was made from."""
    return [chapter for name in TRAIN for chapter in chapters(novels[name])]


def expand(raw: Path) -> None:
    """Writes the raw files: Parquet by split, with the columns of FineWeb-Edu."""
    novels = read()
    raw.mkdir(parents=True, exist_ok=True)
    splits: dict[str, Iterable[tuple[str, int, str]]] = {
        "train": [
            (name, number, chapter)
            for name in TRAIN
            for number, chapter in enumerate(chapters(novels[name]), 1)
        ],
        "validation": _pages(VALIDATION, novels),
        "test": _pages(TEST, novels),
    }
    for split, rows in splits.items():
        arrow, parquet = pyarrow()
        table = arrow.Table.from_pylist([_row(*row) for row in rows])
        parquet.write_table(table, raw / f"{split}-00000-of-00001.parquet")
    shutil.copyfile(MERGES, raw / TOKENIZER)


def _pages(name: str, novels: Mapping[str, str]) -> list[tuple[str, int, str]]:
    return [
        (name, number, chapter[:_PAGE_CHARACTERS].rsplit(" ", 1)[0])
        for number, chapter in enumerate(chapters(novels[name]), 1)
    ]


def _row(novel: str, number: int, text: str) -> dict[str, Any]:
    """One document with all columns of FineWeb-Edu; only `text` is read."""
    return {
        "text": text,
        "id": f"{novel}-{number}",
        "dump": "janeaustenr-1.0.0",
        "url": "https://cran.r-project.org/package=janeaustenr",
        "file_path": novel,
        "language": "en",
        "language_score": 1.0,
        "token_count": len(text.split()),  # words: an estimate
        "score": 4.0,
        "int_score": 4,
    }
