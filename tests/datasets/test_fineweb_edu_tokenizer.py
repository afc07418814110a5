"""GPT-2's tokenizer, the shipped novels, and how the shipped files are made."""

import collections
import hashlib
import itertools
import json
import struct
import zlib

import numpy as np
import pytest

from algoperf.datasets.fineweb_edu import make_embedded, novels, tokenizer

pytest.importorskip("tiktoken")


@pytest.fixture(scope="module")
def gpt2():
    return tokenizer.Tokenizer(tokenizer.gpt2_merges())


def test_the_shipped_merges_are_gpt2s():
    digest = hashlib.sha256(tokenizer.gpt2_merges()).hexdigest()
    assert digest == tokenizer.GPT2_SHA256
    assert tokenizer.chunk_length(tokenizer.gpt2_merges()) == 1_025


def test_token_numbers_are_those_of_gpt2s_own_table(gpt2):
    """Its `encoder.json` is these tokens as JSON, to the byte."""
    letter_of = {byte: letter for letter, byte in tokenizer._bytes_by_letter().items()}
    table = {
        "".join(letter_of[byte] for byte in token): rank
        for token, rank in tokenizer.token_ranks(tokenizer.gpt2_merges()).items()
    }
    table[tokenizer.END_OF_TEXT] = gpt2.end_of_text
    digest = hashlib.sha256(json.dumps(table).encode()).hexdigest()
    published = "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"
    assert digest == published


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello world", [15496, 995]),
        (
            "Hello, world!\n\nIt's 2024.",
            [15496, 11, 995, 0, 198, 198, 1026, 338, 48609, 13],
        ),
        ("  two  spaces ", [220, 734, 220, 9029, 220]),
        ("naïve 日本", [2616, 38776, 10545, 245, 98, 17312, 105]),
    ],
)
def test_gpt2s_tokens(gpt2, text, expected):
    tokens = gpt2.encode(text)
    assert tokens.tolist() == [*expected, 50_256]
    assert tokens.dtype == np.uint16
    assert gpt2.decode(tokens) == text + tokenizer.END_OF_TEXT


def test_the_end_of_text_is_a_token_within_a_document_too(gpt2):
    tokens = gpt2.encode(f"a{tokenizer.END_OF_TEXT}b")
    assert (tokens == 50_256).sum() == 2


def test_r_databases_are_read():
    def serialised(strings):
        words = [struct.pack(">ii", 0x40009, len(s)) + s.encode() for s in strings]
        head = b"X\n" + struct.pack(">iii", 3, 0x40201, 0x30500)
        head += struct.pack(">i", 5) + b"UTF-8" + struct.pack(">ii", 16, len(strings))
        packed = zlib.compress(head + b"".join(words))
        size = len(head) + sum(map(len, words))
        return struct.pack(">I", size) + packed

    database = serialised(["EMMA", "", "caf"]) + serialised(["PERSUASION"])
    assert list(make_embedded.texts(database)) == ["EMMA\n\ncaf", "PERSUASION"]


def test_training_the_small_tokenizer_gives_the_shipped_merges():
    pytest.importorskip("tokenizers")
    merges = make_embedded.train_merges(novels.training_texts(novels.read()))
    assert merges == novels.MERGES.read_bytes()


@pytest.mark.slow
def test_the_first_merges_are_the_most_frequent_pairs():
    """BPE by its definition: at every moment a pair that no other one outnumbers."""
    regex = pytest.importorskip("regex")
    words = collections.Counter()
    for chapter in novels.training_texts(novels.read()):
        words.update(regex.findall(tokenizer.PATTERN, chapter))
    pieces = {
        tuple(word.replace(" ", "\u0120").replace("\n", "\u010a")): count
        for word, count in words.items()
    }
    for line in novels.MERGES.read_text().splitlines()[1:21]:
        pairs = collections.Counter()
        for piece, count in pieces.items():
            for pair in itertools.pairwise(piece):
                pairs[pair] += count
        merge = tuple(line.split(" "))
        assert pairs[merge] == max(pairs.values())
        pieces = merged(pieces, merge)


def merged(pieces, merge):
    result = collections.Counter()
    for piece, count in pieces.items():
        new, i = [], 0
        while i < len(piece):
            is_pair = piece[i : i + 2] == merge
            new.append("".join(merge) if is_pair else piece[i])
            i += 1 + is_pair
        result[tuple(new)] += count
    return result


def test_chapters_of_the_novels():
    texts = novels.read()
    assert {name: len(text) for name, text in texts.items()} == {
        "emma": 883_027,
        "mansfieldpark": 883_278,
        "northangerabbey": 433_410,
        "persuasion": 466_853,
        "prideprejudice": 684_767,
        "sensesensibility": 673_687,
    }
    chapters = {name: novels.chapters(text) for name, text in texts.items()}
    assert [len(chapters[name]) for name in novels.NAMES] == [55, 48, 31, 24, 61, 50]
    first = chapters["prideprejudice"][0]
    assert first.startswith("It is a truth universally acknowledged, that a single man")
    assert not any("CHAPTER" in text for found in chapters.values() for text in found)
