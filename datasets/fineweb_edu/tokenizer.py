"""GPT-2's byte-level BPE, from its file of merges: nothing is downloaded.

The package tiktoken encodes. Its own GPT-2 encoding would fetch the same file from the
network at run time.
"""

import hashlib
import lzma
from pathlib import Path
from typing import Any

import numpy as np

from algoperf import input_files, packages
from algoperf.errors import BadData

END_OF_TEXT = "<|endoftext|>"
# GPT-2's rule that cuts text into pieces before merges are applied.
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
SHIPPED = Path(__file__).parent / "embedded" / "vocab.bpe.xz"
GPT2_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
NOVELS_SHA256 = "fc8cafdb638825f983dff84d20a89549f38c94bf91989c4904a0671b9e01a90f"
# Tokens of a stored chunk, by the tokenizer: a sequence and the token after it.
_CHUNK_LENGTHS = {GPT2_SHA256: 1_025, NOVELS_SHA256: 129}


def gpt2_merges() -> bytes:
    """GPT-2's `vocab.bpe`, as shipped; see embedded/NOTICE."""
    return lzma.decompress(SHIPPED.read_bytes())


def load_merges(path: Path) -> bytes:
    """The content of the `vocab.bpe` at `path`, else GPT-2's.

    `BadData` unless these are the merges of GPT-2 or of the shipped novels.
    """
    merges = gpt2_merges()
    if input_files.is_file(path):
        with input_files.opened(path) as file:
            merges = file.read()
    digest = hashlib.sha256(merges).hexdigest()
    if digest not in _CHUNK_LENGTHS:
        raise BadData(
            f"{path} has the sha256 checksum {digest}; {GPT2_SHA256} is GPT-2's. "
            "Delete the file: the right one comes with algoperf."
        )
    return merges


def chunk_length(merges: bytes) -> int:
    """Tokens of a stored chunk: 1,025 with GPT-2's tokenizer, 129 with the novels'."""
    return _CHUNK_LENGTHS[hashlib.sha256(merges).hexdigest()]


class Tokenizer:
    """Encodes documents; may be used by several threads at once."""

    def __init__(self, merges: bytes) -> None:
        """merges: the content of a `vocab.bpe`."""
        tiktoken = packages.load("tiktoken", "Preparing fineweb_edu")
        ranks = token_ranks(merges)
        self.end_of_text = len(ranks)
        self.vocab_size = len(ranks) + 1
        self._encoding: Any = tiktoken.Encoding(
            "fineweb_edu",
            pat_str=PATTERN,
            mergeable_ranks=ranks,
            special_tokens={END_OF_TEXT: self.end_of_text},
        )

    def encode(self, document: str) -> np.ndarray:
        """Tokens of a document and of `END_OF_TEXT` behind it, uint16 [tokens].

        As published, that string is a token wherever it stands, also in a document.
        """
        tokens = self._encoding.encode_to_numpy(
            document + END_OF_TEXT, allowed_special="all"
        )
        return np.asarray(tokens, np.uint16)

    def decode(self, tokens: np.ndarray) -> str:
        """The text of tokens; bytes that are no UTF-8 are replaced."""
        text: str = self._encoding.decode(tokens.tolist())
        return text


def token_ranks(merges: bytes) -> dict[bytes, int]:
    """Token numbers by their bytes: single bytes first, then merges in their order."""
    byte_of = _bytes_by_letter()
    ranks = {bytes([byte]): rank for rank, byte in enumerate(byte_of.values())}
    for line in merges.decode().splitlines()[1:]:  # after the version
        left, right = line.split(" ")
        merged = bytes(byte_of[letter] for letter in left + right)
        ranks[merged] = len(ranks)
    return ranks


def _bytes_by_letter() -> dict[str, int]:
    """Each byte by the letter that stands for it in `vocab.bpe`, in token order.

    Printable ones stand for themselves, the others for letters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(0x100 + i): byte for i, byte in enumerate(others)}
