"""The shipped pairs: message catalogues of programs, in place of the official corpora."""

import gzip
import io
import lzma
import tarfile
from collections.abc import Iterable
from pathlib import Path

from .corpora import ARCHIVES, CORPORA

PATH = Path(__file__).parent / "embedded" / "pairs.tsv.xz"
_FRAME = {
    "src": '<srcset setid="catalogues" srclang="any">\n<doc docid="1">\n<p>\n',
    "ref": '<refset setid="catalogues" srclang="any" trglang="en">\n<doc docid="1">\n<p>\n',
}


def write(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """Writes (name of the archive or split, German, English); the same bytes always."""
    text = "".join("\t".join(row) + "\n" for row in rows)
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def read(path: Path = PATH) -> dict[str, list[tuple[str, str]]]:
    """German and English of each row, by its first column."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for line in lzma.decompress(path.read_bytes()).decode().splitlines():
        name, german, english = line.split("\t")
        pairs.setdefault(name, []).append((german, english))
    return pairs


def expand(raw: Path) -> None:
    """Writes the pairs in `raw` as the five official archives."""
    pairs = read()
    members: dict[str, dict[str, str]] = {archive.name: {} for archive in ARCHIVES}
    for split, corpora in CORPORA.items():
        for corpus in corpora:
            name = corpus.archive.name if split == "train" else split
            for side, member in enumerate((corpus.german, corpus.english)):
                lines = [pair[side] for pair in pairs[name]]
                members[corpus.archive.name][member] = _content(member, lines)
    raw.mkdir(parents=True, exist_ok=True)
    for name, contents in members.items():
        (raw / name).write_bytes(_packed(contents))


def _content(member: str, lines: list[str]) -> str:
    """The text of one file of an archive: lines, or SGML around them."""
    if not member.endswith(".sgm"):
        return "".join(f"{line}\n" for line in lines)
    kind = "src" if "-src." in member else "ref"
    segments = [f'<seg id="{n}">{line}</seg>\n' for n, line in enumerate(lines, 1)]
    return f"{_FRAME[kind]}{''.join(segments)}</p>\n</doc>\n</{kind}set>\n"


def _packed(contents: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in contents.items():
            entry = tarfile.TarInfo(name)
            content = text.encode()
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)
