"""A report as Markdown with tables, as GitHub and others show it. Charts are left out."""

import re
from collections.abc import Iterable, Iterator

from .document import Code, DataTable, Document

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def render(document: Document) -> str:
    """The whole file."""
    lines = [f"# {_plain(document.title)}", ""]
    if document.banner:
        lines += [f"> **{_plain(document.banner)}**", ""]
    lines += [f"- {_plain(name)}: {_plain(value)}" for name, value in document.summary]
    for title, remarks in (("Warnings", document.warnings), ("Notes", document.notes)):
        if remarks:
            lines += ["", f"**{title}**", "", *(f"- {_plain(r)}" for r in remarks)]
    for section in document.sections:
        lines += ["", f"## {_plain(section.title)}", "", _plain(section.explanation)]
        for block in section.blocks:
            if isinstance(block, DataTable):
                lines += _table(block)
            elif isinstance(block, Code):
                lines += ["", f"{_plain(block.label)}:", "", *_code(block.text)]
    return "\n".join([*lines, "", f"*Written by {_plain(document.generator)}.*", ""])


def _plain(text: str) -> str:
    """Text in one line in which nothing means anything to Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _table(table: DataTable) -> Iterator[str]:
    yield from ("", f"**{_plain(table.caption)}**", "")
    yield _row(column.name for column in table.columns)
    rules = ("---:" if column.is_numeric else ":---" for column in table.columns)
    yield f"| {' | '.join(rules)} |"
    for row in table.rows:
        yield _row(cell.words for cell in row)
    if table.note:
        yield from ("", _plain(table.note))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _code(text: str) -> Iterator[str]:
    """Indented: no text can end such a block."""
    for line in text.splitlines():
        yield f"    {line}"
