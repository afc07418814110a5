r"""A report's tables as LaTeX, one `table` each, to \input into a document. No charts."""

import re
from collections.abc import Iterator

from .document import DataTable, Document

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\N{EN DASH}": "--",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "†": r"\dag{}",
    "…": r"\dots{}",
    "[": "{[}",  # after a line break a bare one would be read as its option
    "]": "{]}",
}
_PATTERN = re.compile("|".join(map(re.escape, _SPECIAL)))


def render(document: Document) -> str:
    """All tables, in order."""
    lines = [
        f"% {_line(document.title)}, written by {_line(document.generator)}.",
        r"% Needs \usepackage{booktabs}, \usepackage[T1]{fontenc} and UTF-8 input.",
    ]
    for kind, remarks in (
        ("banner", [document.banner] if document.banner else []),
        ("warning", document.warnings),
        ("note", document.notes),
    ):
        lines += [f"% {kind}: {_line(remark)}" for remark in remarks]
    for table in document.tables():
        lines += ["", *_table(table, document.banner)]
    return "\n".join([*lines, ""])


def _line(text: str) -> str:
    """For a comment, which a line break would end."""
    return " ".join(text.split())


def plain(text: str) -> str:
    """A text with LaTeX's special characters escaped, in one line."""
    return _PATTERN.sub(lambda match: _SPECIAL[match[0]], _line(text))


def _table(table: DataTable, banner: str) -> Iterator[str]:
    spec = "".join("r" if column.is_numeric else "l" for column in table.columns)
    caption = f"{table.caption}. {banner} {table.note}".replace("  ", " ").strip()
    yield r"\begin{table}"
    yield rf"  \caption{{{plain(caption)}}}"
    yield rf"  \label{{tab:{table.key.replace('_', '-')}}}"
    yield r"  \centering\small"
    yield rf"  \begin{{tabular}}{{{spec}}}"
    yield r"    \toprule"
    yield _row([column.name for column in table.columns])
    yield r"    \midrule"
    for row in table.rows:
        yield _row([cell.words for cell in row])
    yield r"    \bottomrule"
    yield r"  \end{tabular}"
    yield r"\end{table}"


def _row(cells: list[str]) -> str:
    return rf"    {' & '.join(map(plain, cells))} \\"
