"""A table as a value, and how durations and numbers are written in one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A title, a header and rows of text; every row is as long as the header."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """For a terminal: columns aligned, the ones that hold numbers to the right."""
        header = [printable(cell) for cell in self.header]
        rows = [[printable(cell) for cell in row] for row in self.rows]
        columns = list(zip(header, *rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        right = [all(_looks_numeric(cell) for cell in column[1:]) for column in columns]
        lines = [
            "  ".join(
                cell.rjust(width) if to_right else cell.ljust(width)
                for cell, width, to_right in zip(row, widths, right, strict=True)
            ).rstrip()
            for row in (header, *rows)
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, rule, lines[0], rule, *lines[1:]])


def _looks_numeric(cell: str) -> bool:
    return not cell or cell[0].isdigit() or cell[0] in "+-.∞"


def printable(text: str) -> str:
    """Without control characters, which would drive the terminal."""
    return text if text.isprintable() else "".join(map(_harmless, text))


def _harmless(character: str) -> str:
    """Bytes of names that are no text are kept: the output writes them with backslashes."""
    is_byte = "\udc80" <= character <= "\udcff"
    return character if character.isprintable() or is_byte else "?"


def duration(seconds: float) -> str:
    """`1.5 s`, `12.3 min`, `4.56 h`; a dash for a miss."""
    if not math.isfinite(seconds):
        return "-"
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.2f} h"


def number(value: float, digits: int = 4) -> str:
    """A number with that many decimals; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
