"""Raw official LibriSpeech archives -> packed audio and tokens.

The names that every data set's prepare.py has are explained in
`datasets/mnist/prepare.py`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from algoperf import input_files
from algoperf.definition import Split, Splits
from algoperf.download import Progress, no_progress
from algoperf.downloads import OfficialFile, fetch_all, mirrored
from algoperf.errors import BadData
from algoperf.prepared import Preparation

from . import clips, published
from . import raw as raw_files
from .packing import FILE_BYTES, Packing, Row, audio_name
from .raw import OfficialSet, RawSet
from .reader import (
    FORMAT_VERSION,
    INDEX_DTYPE,
    SETS,
    SPLITS,
    TOKEN_DTYPE,
    TOKENIZER,
    ids_name,
    index_name,
    tokens_name,
)
from .tokenizer import Tokenizer, train

__all__ = [
    "DOWNLOADS",
    "FORMAT_VERSION",
    "PACKAGES",
    "PUBLISHED",
    "RAW_HELP",
    "download",
    "expand_embedded",
    "prepare",
    "space_needed",
]

PACKAGES = ("sentencepiece", "soundfile")
PUBLISHED = ("librispeech",)

RAW_HELP = """\
LibriSpeech (OpenSLR resource 12), six archives (61 GB), or their unpacked folders in
LibriSpeech/:
  train-clean-100.tar.gz  train-clean-360.tar.gz  train-other-500.tar.gz
  dev-clean.tar.gz        dev-other.tar.gz        test-clean.tar.gz
From https://www.openslr.org/12/. Licence: CC BY 4.0. A partial copy (--subset N) needs
train-clean-100, dev-clean and test-clean only."""

_FOLDERS = (
    "https://www.openslr.org/resources/12/",
    "https://us.openslr.org/resources/12/",
    "https://openslr.elda.org/resources/12/",
)
DOWNLOADS = tuple(
    OfficialFile(mirrored(name, *_FOLDERS), about_bytes=size, md5=md5)
    for name, size, md5 in (  # https://www.openslr.org/resources/12/md5sum.txt
        ("train-clean-100.tar.gz", 6_387_309_499, "2a93770f6d5c6c964bc36631d331a522"),
        ("train-clean-360.tar.gz", 23_049_477_885, "c0e676e450a7ff2f54aeade5171606fa"),
        ("train-other-500.tar.gz", 30_593_501_606, "d1a0fd59409feb2c614ce4d30c387708"),
        ("dev-clean.tar.gz", 337_926_286, "42e2234ba48799c1f50f24a7926300a1"),
        ("dev-other.tar.gz", 314_305_928, "c8d0bcc9cca99d4f8b62fcc847357931"),
        ("test-clean.tar.gz", 346_663_984, "32fa31d27d2e1cad72775fee3f4849a9"),
    )
)
_TOKENIZER_SET = "train-clean-100"  # its transcripts train the tokenizer
# 977 hours of 16-bit audio at 16 kHz, before filters; tables and tokens.
_FULL_BYTES = 115_000_000_000
_EXPANSION = 2.2  # packed bytes for each byte of FLAC, with a reserve
_LONGEST_BYTES = 36 * 32_000  # of an utterance; the longest is 35 s
_SMALL_FILES_BYTES = 2_000_000  # tokenizer, tables, indices of a small data set


def download(raw: Path, progress: Progress = no_progress) -> None:
    """Fetches the six official archives (61 GB) into `raw`; checks their md5 sums."""
    fetch_all(DOWNLOADS, raw, progress)


def expand_embedded(raw: Path) -> None:
    """Writes 1,520 short utterances of real speech in the official layout.

    See embedded/NOTICE for their source and licence.
    """
    clips.expand(raw)


def space_needed(raw: Path | None, subset: int | None = None) -> int:
    """Bytes of the prepared data, estimated from the size of the raw files."""
    if raw is None:
        return _FULL_BYTES
    sources = _sources(raw, published.open_tokenizer(raw), is_partial=True)
    needed = int(sum(s.size_bytes * _expansion(s) for s in sources.values()))
    if subset is not None:
        needed = min(needed, 3 * subset * _LONGEST_BYTES)
    return needed + _SMALL_FILES_BYTES


def prepare(
    raw: Path,
    preparation: Preparation,
    *,
    splits: Splits,
    subset: int | None = None,
    progress: Progress = no_progress,
    file_bytes: int = FILE_BYTES,
) -> None:
    """Packs the audio of each set, trains the tokenizer, writes the splits' indices.

    Archives are streamed once, and their recordings decoded in parallel. A subset keeps
    the first utterances of each split's archives, with the full data's tokenizer.
    """
    given = published.open_tokenizer(raw)
    sources = _sources(raw, given, is_partial=subset is not None)
    known = {} if given is None else {"tokenizer": hashlib.sha256(given[0]).hexdigest()}
    preparation.identify(
        raw_bytes={name: source.size_bytes for name, source in sources.items()},
        file_bytes=file_bytes,
        **known,
    )
    with Packing(preparation, progress, file_bytes=file_bytes) as packing:
        rows = _pack(packing, sources, subset)
    counts: dict[str, int] = {
        split: sum(row.is_kept for name in SETS[split] for row in rows.get(name, ()))
        for split in SPLITS
    }
    if subset is None:
        _check_counts(counts, rows, splits, raw)
    model = None if given is None else given[0]
    tokenizer = _tokenizer(preparation, rows[_TOKENIZER_SET], model, progress)
    num_files = {
        name: 1 + max((row.file for row in rows[name]), default=-1) for name in rows
    }
    names = [audio_name(name, i) for name in rows for i in range(num_files[name])]
    for split in SPLITS:
        _write_split(preparation, split, rows, names, tokenizer)
    preparation.finish(
        counts,
        facts={"audio_files": names, "vocabulary_size": tokenizer.size, **known},
    )


def _sources(
    raw: Path, given: tuple[bytes, Tokenizer] | None, *, is_partial: bool
) -> dict[str, RawSet]:
    """The sets that are there; a partial copy does without the later ones of a split.

    given: the published tokenizer, if it lies there.
    """
    input_files.check_raw_folder(raw, RAW_HELP)
    tokenizer = None if given is None else given[1]
    sources: dict[str, RawSet] = {}
    for names in SETS.values():
        for name in names:
            found = published.find(raw, name, tokenizer)
            if found is not None:
                sources[name] = found
                continue
            try:
                sources[name] = OfficialSet(raw_files.find(raw, name, RAW_HELP), name)
            except BadData:
                if not is_partial or name == names[0]:
                    raise
    return sources


def _expansion(source: RawSet) -> float:
    """Packed bytes for each raw one: published arrays have 8 bytes a sample."""
    return 0.26 if isinstance(source, published.PublishedSet) else _EXPANSION


def _pack(
    packing: Packing, sources: Mapping[str, RawSet], subset: int | None
) -> dict[str, list[Row]]:
    """The utterances of each set; of a partial copy, until a split has enough."""
    rows: dict[str, list[Row]] = {}
    for split in SPLITS:
        left = subset
        for name in SETS[split]:
            if left == 0 or name not in sources:
                continue
            rows[name] = packing.pack(
                sources[name],
                name,
                limit=left,
                needs_all_texts=name == _TOKENIZER_SET,
            )
            if left is not None:
                left -= sum(row.is_kept for row in rows[name])
    return rows


def _check_counts(
    counts: Mapping[str, int],
    rows: Mapping[str, Sequence[Row]],
    splits: Splits,
    raw: Path,
) -> None:
    if all(counts[split] == splits.size(split) for split in SPLITS):
        return
    found = ", ".join(f"{split} {counts[split]:,}" for split in SPLITS)
    needed = ", ".join(f"{split} {splits.size(split):,}" for split in SPLITS)
    sets = ", ".join(f"{name} {len(of_set):,}" for name, of_set in rows.items())
    raise BadData(
        f"The files in {raw} have {found} utterances within the length limits; {needed} "
        f"are expected. They are not the official files, or not whole. Utterances of "
        f"each set before the limits: {sets}. The small shipped data serve the mini "
        "workloads only."
    )


def _tokenizer(
    preparation: Preparation,
    rows: Sequence[Row],
    model: bytes | None,
    progress: Progress,
) -> Tokenizer:
    """The tokenizer of the transcripts in sorted order, trained if it is missing.

    model: the published one if it lies beside the data; it is then used as it is.

    The published one saw them in the order of a directory listing, which depends on the
    file system; so does, a little, its model.
    """
    if not preparation.has(TOKENIZER):
        if model is None:
            progress("training the tokenizer", 0, None)
            texts = [row.text for row in sorted(rows, key=lambda row: row.utterance)]
            model = train(texts)
        with preparation.part(TOKENIZER) as path:
            path.write_bytes(model)
    return Tokenizer.open(preparation.destination / TOKENIZER)


def _write_split(
    preparation: Preparation,
    split: Split,
    rows: Mapping[str, Sequence[Row]],
    audio_names: Sequence[str],
    tokenizer: Tokenizer,
) -> None:
    """Writes index, tokens and ids: set after set, each sorted by utterance."""
    parts = (index_name(split), tokens_name(split), ids_name(split))
    if all(map(preparation.has, parts)):
        return
    kept = [
        (name, row)
        for name in SETS[split]
        for row in sorted(rows.get(name, ()), key=lambda row: row.utterance)
        if row.is_kept
    ]
    tokens = tokenizer.encode([row.text for _, row in kept])
    number_of = {name: number for number, name in enumerate(audio_names)}
    index = np.zeros(len(kept), INDEX_DTYPE)
    index["file"] = [number_of[audio_name(name, row.file)] for name, row in kept]
    index["start"] = [row.start for _, row in kept]
    index["num_samples"] = [row.num_samples for _, row in kept]
    index["num_tokens"] = list(map(len, tokens))
    index["token_start"] = np.cumsum(index["num_tokens"]) - index["num_tokens"]
    with preparation.part(index_name(split)) as path, path.open("wb") as file:
        np.save(file, index)
    with preparation.part(tokens_name(split)) as path, path.open("wb") as file:
        np.save(file, np.array([t for ids in tokens for t in ids], TOKEN_DTYPE))
    with preparation.part(ids_name(split)) as path:
        path.write_text("".join(f"{row.utterance}\n" for _, row in kept), "utf-8")
