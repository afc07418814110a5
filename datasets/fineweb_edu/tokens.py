"""Tokens of all documents in the order of the raw files: what packing starts from.

They are kept in a folder of their own until the prepared data is complete, one pair of
files a block; a block that is there is not tokenised again.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from algoperf.download import writing_to
from algoperf.errors import BadData

from .documents import Block
from .reader import TOKEN
from .tokenizer import Tokenizer


class TokenFolder:
    """The folder of tokenised blocks; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with writing_to(folder.parent):
            folder.mkdir(parents=True, exist_ok=True)

    def _tokens(self, index: int) -> Path:
        return self.folder / f"{index:05d}.tokens"

    def _lengths(self, index: int) -> Path:
        return self.folder / f"{index:05d}.lengths.npy"

    def has(self, index: int) -> bool:
        """Whether block number `index` is finished: its lengths are written last."""
        return self._lengths(index).exists()

    def write(
        self,
        index: int,
        block: Block,
        tokenizer: Tokenizer,
        on_rows: Callable[[int], None],
    ) -> None:
        """Tokenises a block: uint16 tokens, and int32 [documents] how many each has.

        Empty documents are left out, as published. on_rows: told how many rows more
        are done.
        """
        lengths, told = [], 0
        temporary = self._tokens(index).with_suffix(".partial")
        with writing_to(self.folder):
            with temporary.open("wb") as file:
                for row, text in enumerate(block.texts(), 1):
                    if text:
                        tokens = tokenizer.encode(text)
                        file.write(tokens.tobytes())
                        lengths.append(len(tokens))
                    if row % 1_000 == 0 or row == block.num_rows:
                        on_rows(row - told)
                        told = row
                _sync(file.fileno(), file.flush)
            temporary.replace(self._tokens(index))
            with temporary.open("wb") as file:
                np.save(file, np.array(lengths, np.int32))
                _sync(file.fileno(), file.flush)
            temporary.replace(self._lengths(index))

    def open(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens, mapped into memory, and lengths of a finished block."""
        path = self._lengths(index)
        try:
            lengths = np.asarray(np.load(path), np.int32)
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise self._damaged(path) from error
        path = self._tokens(index)
        size = path.stat().st_size if path.exists() else 0
        if size != int(lengths.sum(dtype=np.int64)) * TOKEN.itemsize:
            raise self._damaged(path)
        if not size:
            return np.empty(0, TOKEN), lengths
        return np.asarray(np.memmap(path, TOKEN, mode="r")), lengths

    def _damaged(self, path: Path) -> BadData:
        return BadData(
            f"{path} is damaged. Delete the folder {self.folder} and run the same "
            "command again."
        )

    def remove(self) -> None:
        """Deletes the folder and what is in it."""
        with writing_to(self.folder):
            shutil.rmtree(self.folder)


def _sync(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fsync(descriptor)
