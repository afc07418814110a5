"""Raw official WMT archives -> tokenizer and tokens.

The names that every data set's prepare.py has are explained in
`datasets/mnist/prepare.py`.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, Splits
from algoperf.download import Progress, no_progress
from algoperf.downloads import OfficialFile, fetch_all
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from . import catalogues, stored, tokenizer
from .corpora import ARCHIVES, RAW_HELP, RawFiles
from .reader import FORMAT_VERSION, SIDES, SPLITS, TOKENIZER, part_name, ranges
from .stored import StoredPairs

__all__ = [
    "DOWNLOADS",
    "FORMAT_VERSION",
    "PACKAGES",
    "PUBLISHED",
    "RAW_HELP",
    "TFDS",
    "download",
    "expand_embedded",
    "prepare",
    "space_needed",
]

PACKAGES = ("sentencepiece",)
TFDS = (stored.TRAIN, stored.EVALUATION)
PUBLISHED = ("wmt",)
DOWNLOADS = tuple(
    OfficialFile(
        (archive.url,),
        about_bytes=archive.size_bytes,
        size_bytes=archive.size_bytes,
        sha256=archive.sha256,
    )
    for archive in ARCHIVES
)
PUBLISHED_TOKENIZER = "wmt_sentencepiece_model"

_PAIRS_AT_ONCE = 50_000
# About 6 million pairs, 33 tokens of 2 bytes and an offset a side (estimated).
_FULL_BYTES = 1_000_000_000
_TOKENIZER_BYTES = 1_000_000
_SPACE_FACTOR = 4  # prepared bytes for each raw one, packed; other languages leave room


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches the five official archives (1.9 GB) into `raw`; checks their checksums."""
    fetch_all(DOWNLOADS, raw, progress)


def expand_embedded(raw: Path) -> None:
    """Writes 3,856 pairs from message catalogues as the five official archives.

    See embedded/NOTICE for their source and licence.
    """
    catalogues.expand(raw)


def space_needed(raw: Path | None, subset: int | None = None) -> int:
    """Bytes of the prepared data, estimated from the size of the raw files.

    A subset is taken for the whole, which is small.
    """
    del subset
    if raw is None:
        return _FULL_BYTES
    packed = sum(_files(raw).sizes().values())
    return min(_FULL_BYTES, _SPACE_FACTOR * packed + _TOKENIZER_BYTES)


def prepare(
    raw: Path,
    preparation: Preparation,
    *,
    splits: Splits,
    subset: int | None = None,
    progress: Progress = no_progress,
    vocab_size: int | None = None,
) -> None:
    """Trains the tokenizer, then writes the tokens of each split.

    Pairs are stored in the order of tensorflow-datasets.
    vocab_size: None for the published one, or a small one where the text is small.
    """
    source = _Source(_files(raw), raw, splits, progress)
    given = _published_tokenizer(raw)
    known = {} if given is None else {"tokenizer": hashlib.sha256(given).hexdigest()}
    preparation.identify(
        raw_bytes=source.files.sizes(),
        train=splits.train,
        vocab_size=vocab_size,
        **known,
    )
    source.files.verify(progress)
    if not preparation.has(TOKENIZER):
        model = given or _train_tokenizer(source, vocab_size)
        with preparation.part(TOKENIZER) as path:
            path.write_bytes(model)
    processor = tokenizer.load((preparation.destination / TOKENIZER).read_bytes())
    counts: dict[str, int] = {
        split: min(splits.size(split), subset or splits.size(split)) for split in SPLITS
    }
    for split in SPLITS:
        kinds = ("tokens", "offsets")
        names = [part_name(split, side, kind) for side in SIDES for kind in kinds]
        if not all(map(preparation.has, names)):
            chosen = source.order(split)[: counts[split]]
            _write_split(source, preparation, split, chosen, processor)
    preparation.finish(counts, facts={"vocab_size": processor.vocab_size(), **known})


def _files(raw: Path) -> RawFiles | StoredPairs:
    return stored.find(raw) or RawFiles(raw)


def _published_tokenizer(raw: Path) -> bytes | None:
    """The tokenizer that the published benchmark made, if it lies beside the data."""
    path = raw / PUBLISHED_TOKENIZER
    if not input_files.is_file(path):
        return None
    with input_files.opened(path) as file:
        model = file.read()
    try:
        size = tokenizer.load(model).vocab_size()
    except RuntimeError as error:
        raise BadData(
            f"{path} is no SentencePiece model ({input_files.in_one_line(error)}). Copy it "
            "again, or move it away: then a tokenizer is trained."
        ) from error
    if size != tokenizer.VOCAB_SIZE:
        raise BadData(
            f"{path} has {size:,} tokens; the published one has "
            f"{tokenizer.VOCAB_SIZE:,}. Move it away: then a tokenizer is trained."
        )
    return model


class _Source:
    """The raw pairs of each split, counted while they are read."""

    def __init__(
        self,
        files: RawFiles | StoredPairs,
        raw: Path,
        splits: Splits,
        progress: Progress,
    ) -> None:
        self.files = files
        self.progress = progress
        self._raw = raw
        self._splits = splits
        self._orders: dict[Split, np.ndarray] = {}

    def order(self, split: Split) -> np.ndarray:
        """Numbers of the split's pairs in the order in which they are stored."""
        if split not in self._orders:
            self.progress(f"ordering {split}", 0, None)
            order = self.files.order(split)
            if len(order) != self._splits.size(split):
                raise self._wrong_number(split, len(order))
            self._orders[split] = order
        return self._orders[split]

    def pairs(self, split: Split, purpose: str) -> Iterator[tuple[str, str]]:
        """All pairs of the split; `BadData` unless there are as many as expected."""
        expected, number = self._splits.size(split), 0
        for number, pair in enumerate(self.files.pairs(split), 1):
            if number <= expected:
                yield pair
            if number % _PAIRS_AT_ONCE == 0:
                self.progress(f"{purpose} {split}", min(number, expected), expected)
        if number != expected:
            raise self._wrong_number(split, number)
        self.progress(f"{purpose} {split}", expected, expected)

    def _wrong_number(self, split: Split, number: int) -> BadData:
        return BadData(
            f"The {split} corpora in {self._raw} hold {number:,} pairs; "
            f"{self._splits.size(split):,} are expected. Get the official files; the small "
            "shipped data serve wmt_mini only."
        )


def _train_tokenizer(source: _Source, vocab_size: int | None) -> bytes:
    """The model of the first `SAMPLE_BYTES` of the stored order, pair by pair."""
    order = source.order("train")
    num_bytes = np.fromiter(
        (
            len(german.encode()) + len(english.encode()) + 2
            for german, english in source.pairs("train", "reading")
        ),
        np.int64,
    )
    ends = np.cumsum(num_bytes[order])
    num_pairs = int(np.searchsorted(ends, tokenizer.SAMPLE_BYTES)) + 1
    is_small = num_pairs > len(order)
    if vocab_size is None:
        vocab_size = tokenizer.SMALL_VOCAB_SIZE if is_small else tokenizer.VOCAB_SIZE
    wanted = set(order[:num_pairs].tolist())
    texts = {
        number: pair
        for number, pair in enumerate(source.pairs("train", "sampling"))
        if number in wanted
    }
    lines = itertools.chain.from_iterable(
        texts[number] for number in order[:num_pairs].tolist()
    )
    source.progress("training the tokenizer", 0, None)
    return tokenizer.train(lines, vocab_size)


def _write_split(
    source: _Source,
    preparation: Preparation,
    split: Split,
    chosen: np.ndarray,
    processor: Any,
) -> None:
    """Writes both sides of the pairs with the numbers `chosen`, in that order."""
    is_wanted = np.zeros(len(source.order(split)), bool)
    is_wanted[chosen] = True
    pairs = source.pairs(split, "tokenising")
    wanted = (pair for pair, keep in zip(pairs, is_wanted, strict=True) if keep)
    encoded = _encode(wanted, processor)
    places = (np.cumsum(is_wanted) - 1)[chosen]
    for side, (tokens, lengths) in zip(SIDES, encoded, strict=True):
        offsets = np.concatenate([[0], np.cumsum(lengths[places], dtype=np.int64)])
        name = part_name(split, side, "offsets")
        if not preparation.has(name):
            with preparation.part(name) as path, path.open("wb") as file:
                np.save(file, offsets)
        name = part_name(split, side, "tokens")
        if not preparation.has(name):
            with preparation.part(name) as path:
                _write_tokens(path, tokens, lengths, places, offsets)


def _encode(
    pairs: Iterable[tuple[str, str]], processor: Any
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Tokens and lengths (see `tokenizer.encode`) of German, then of English."""
    pairs, slices = iter(pairs), []
    while rows := list(itertools.islice(pairs, _PAIRS_AT_ONCE)):
        sides = zip(*rows, strict=True)
        slices.append([tokenizer.encode(processor, lines) for lines in sides])
    return tuple(
        (
            np.concatenate([part[side][0] for part in slices]),
            np.concatenate([part[side][1] for part in slices]),
        )
        for side in range(len(SIDES))
    )


def _write_tokens(
    path: Path,
    tokens: np.ndarray,
    lengths: np.ndarray,
    places: np.ndarray,
    offsets: np.ndarray,
) -> None:
    """Writes the sentences at `places`, in slices that need little memory."""
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    # Written, not mapped: a full disk is then an error, not a signal.
    header = {"descr": "<u2", "fortran_order": False, "shape": (int(offsets[-1]),)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, len(places), _PAIRS_AT_ONCE):
            part = places[first : first + _PAIRS_AT_ONCE]
            chosen = tokens[ranges(starts[part], lengths[part])]
            file.write(chosen.astype("<u2", copy=False).data)
