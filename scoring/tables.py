"""Tables as values, how they look in a terminal, and how durations and numbers are written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Interval = tuple[float, float]
Value = float | int | str | None

NONE = "\N{EN DASH}"  # shown where there is no value
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Cell:
    """One cell of a table: the text that is shown, and the value that it stands for."""

    text: str
    value: Value = None  # sorts, and goes into JSON and CSV; None: there is none
    interval: Interval | None = None
    detail: str = ""  # shown smaller, after the text; may have several lines
    share: float | None = None  # 0 to 1: how strongly the cell is shaded
    href: str = ""  # where the text leads, in formats that have links
    links: Sequence[tuple[str, str]] = ()  # words and where they lead, after the detail

    @property
    def words(self) -> str:
        """Text, detail and links in one line."""
        linked = [f"{words} ({to})" if words != to else to for words, to in self.links]
        return " ".join([self.text, *self.detail.splitlines(), *linked])


@dataclass(frozen=True)
class Column:
    """The head of a column."""

    name: str
    is_numeric: bool = True
    first_order: Literal["ascending", "descending"] = "ascending"
    # Ends of the scale on which values with intervals are also drawn; None: not drawn.
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class DataTable:
    """A table; every row has a cell for each column, and the first cell names the row."""

    key: str  # unique in a document
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    is_long: bool = False  # folded up where the format can do that
    is_sortable: bool = True

    def text(self) -> str:
        """For a terminal."""
        header = [column.name for column in self.columns]
        rows = [[cell.words for cell in row] for row in self.rows]
        plain = [
            [cell.replace(NONE, "-").replace(TIMES, "x") for cell in row]
            for row in (header, *rows)
        ]
        return aligned(self.caption, plain[0], plain[1:])


def plain_table(
    key: str,
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    note: str = "",
) -> DataTable:
    """A table of texts and numbers; columns that hold numbers only are numeric.

    The first column names the rows, even where the names are numbers.
    """
    cells = [[_plain_cell(value) for value in row] for row in rows]
    columns = [
        Column(name, is_numeric=i > 0 and all(map(_looks_numeric, texts)))
        for i, (name, *texts) in enumerate(
            zip(header, *([c.text for c in row] for row in cells), strict=True)
        )
    ]
    return DataTable(key, caption, columns, cells, note, is_long=len(rows) > 40)


def _plain_cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    return Cell(str(value), value if isinstance(value, int | float) else str(value))


def aligned(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned for a terminal, the ones that hold numbers to the right."""
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(map(_looks_numeric, column[1:])) for column in columns]
    shown = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in lines
    ]
    rule = "-" * max(map(len, shown))
    return "\n".join([title, rule, shown[0], rule, *shown[1:]])


def _looks_numeric(cell: str) -> bool:
    first = cell.lstrip("<>")[:1]
    return not cell or first.isdigit() or cell[0] in f"+-.∞{NONE}"


def text_cell(text: object) -> Cell:
    """A cell that is its own value."""
    return Cell(str(text), str(text))


def count_cell(count: int) -> Cell:
    """A cell with a whole number."""
    return Cell(f"{count:,}", count)


def number_cell(value: float, digits: int = 4) -> Cell:
    """A cell with a number; a dash where it is not finite."""
    if not math.isfinite(value):
        return Cell(NONE)
    return Cell(f"{value:.{digits}f}", value)


def duration_cell(seconds: float) -> Cell:
    """A cell with a time in the unit that suits it; a dash where it is not finite."""
    return Cell(duration(seconds), seconds) if math.isfinite(seconds) else Cell(NONE)


def percent_cell(share: float, *, is_shaded: bool = True) -> Cell:
    """A cell with a probability or share; shaded by it."""
    if not math.isfinite(share):
        return Cell(NONE)
    smallest, digits = (0.01, 0) if is_shaded else (0.001, 1)
    text = f"{share:.{digits}%}" if share else "0%"
    if 0 < share < smallest / 2:
        text = f"<{smallest:.{digits}%}"
    return Cell(text, share, share=share if is_shaded else None)


def probability_cell(share: float) -> Cell:
    """A cell with a probability, shaded by it; blank where it never happened.

    Rounding neither makes a rare event impossible nor a frequent one certain.
    """
    if not math.isfinite(share):
        return Cell(NONE)
    if share <= 0:
        return Cell("", 0.0)
    if share < 0.01:
        text = "<1%"
    elif 0.99 < share < 1:
        text = ">99%"
    else:
        text = f"{share:.0%}"
    return Cell(text, share, share=share)


def interval_words(interval: Interval, digits: int = 4) -> str:
    """`[low, high]`; an end that is not finite is a dash."""
    ends = (f"{v:.{digits}f}" if math.isfinite(v) else NONE for v in interval)
    return f"[{', '.join(ends)}]"


def printable(text: str) -> str:
    """Without control characters, which would drive the terminal."""
    return text if text.isprintable() else "".join(map(_harmless, text))


def _harmless(character: str) -> str:
    """Bytes of names that are no text are kept: the output writes them with backslashes."""
    is_byte = "\udc80" <= character <= "\udcff"
    return character if character.isprintable() or is_byte else "?"


def duration(seconds: float) -> str:
    """`35 ms`, `1.5 s`, `12.3 min`, `4.56 h`, `1,234 h`; a dash for a miss."""
    if not math.isfinite(seconds):
        return "-"
    if 0 < abs(seconds) < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    hours = seconds / 3600
    return f"{hours:.2f} h" if hours < 100 else f"{hours:,.0f} h"


def number(value: float, digits: int = 4) -> str:
    """A number with that many decimals; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"
