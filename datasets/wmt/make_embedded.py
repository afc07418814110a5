"""Makes embedded/pairs.tsv.xz from German message catalogues.

    apt-get download postgresql-15 postgresql-client-15   # 15.20-0+deb12u1
    dpkg-deb -x postgresql-15_*.deb catalogues; dpkg-deb -x postgresql-client-*.deb catalogues
    pip download django==5.2 --no-deps && unzip Django-5.2*.whl -d catalogues
    python -m algoperf.datasets.wmt.make_embedded catalogues

Short messages only: a small Transformer learns to translate them in about a minute.
Entries with plural forms, without translation, or with the same text on both sides are
left out, as are those whose text, in either language, was there before. Validation and
test are drawn from all messages with a fixed seed; the others stay with their program.
"""

import argparse
import gettext
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import catalogues
from .corpora import CORPORA

_SEED = 20262
_MAX_CHARACTERS = 44  # of either side
_SIZES = {"validation": 128, "test": 128, "train": 3_600}
_SERVER, _CLIENT, _SITE, _TOOLS = (corpus.archive.name for corpus in CORPORA["train"])


def archive_of(catalogue: Path) -> str:
    """The archive that the messages of a catalogue go into: one for each kind of program."""
    if "postgres-" in catalogue.name:
        return _SERVER
    if "psql" in catalogue.name:
        return _CLIENT
    return _SITE if catalogue.name.startswith("django") else _TOOLS


def messages(catalogue: Path) -> Iterator[tuple[str, str]]:
    """German and English of a compiled catalogue's one-line entries, sorted."""
    with catalogue.open("rb") as file:
        # The only way to all entries: the module offers no public one.
        entries = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    for key, german in sorted(
        (key, text) for key, text in entries.items() if isinstance(key, str)
    ):
        english = key.rpartition("\x04")[2].strip()  # behind the entry's context
        german = german.strip()
        if "\n" not in english + german:
            yield " ".join(german.split()), " ".join(english.split())


def collect(folder: Path) -> list[tuple[str, str, str]]:
    """Archive, German and English of all messages that are wanted."""
    found, seen = [], {""}
    for path in sorted(folder.rglob("*.mo")):
        if "de" not in path.parts:
            continue
        for german, english in messages(path):
            is_short = max(len(german), len(english)) <= _MAX_CHARACTERS
            is_new = german != english and not {german, english} & seen
            if is_short and is_new and any(map(str.isalpha, english)):
                found.append((archive_of(path), german, english))
            seen |= {german, english}
    return found


def make_embedded(folder: Path, path: Path) -> None:
    """Writes the shipped file."""
    found = collect(folder)
    rng = np.random.Generator(np.random.Philox(_SEED))
    order, rows = rng.permutation(len(found)).tolist(), []
    for split, size in _SIZES.items():
        chosen, order = order[:size], order[size:]
        for archive, german, english in (found[number] for number in sorted(chosen)):
            rows.append((archive if split == "train" else split, german, english))
    catalogues.write(path, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the packages are unpacked")
    make_embedded(parser.parse_args().folder, catalogues.PATH)
