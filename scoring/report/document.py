"""What a report says, as values; how it looks is for the modules that write formats.

`html.py`, `markdown.py`, `latex.py` and `data.py` turn the same `Document` into text.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ..uncertainty import Interval

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

    @property
    def words(self) -> str:
        """Text and detail in one line."""
        return " ".join([self.text, *self.detail.splitlines()])


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


@dataclass(frozen=True)
class Chart:
    """A drawing with its text alternative; `body` is SVG without the outer element."""

    title: str
    description: str
    width: int
    height: int
    body: str
    subtitle: str = ""


@dataclass(frozen=True)
class Charts:
    """Drawings side by side that share one legend."""

    charts: Sequence[Chart]
    legend: Sequence[str]  # submissions in the order of their colours
    is_wide: bool = False  # two beside each other instead of as many as fit
    note: str = ""


@dataclass(frozen=True)
class Code:
    """Commands to copy."""

    label: str
    text: str


Block = DataTable | Charts | Code


@dataclass(frozen=True)
class Section:
    """A part with a heading, and what a reader sees in it in a sentence or two."""

    key: str
    title: str
    explanation: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    summary: Sequence[tuple[str, str]]  # (label, value)
    sections: Sequence[Section]
    banner: str = ""  # what must not be overlooked; empty: nothing
    warnings: Sequence[str] = field(default=())
    notes: Sequence[str] = field(default=())
    leaderboard: dict[str, object] = field(default_factory=dict)  # in JSON's types
    generator: str = ""

    def tables(self) -> Iterator[DataTable]:
        """All tables, in order."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, DataTable):
                    yield block


@dataclass(frozen=True)
class TimeUnit:
    """Hours, minutes or seconds, and how many decimals suit them."""

    name: str
    plural: str
    seconds: float
    digits: int


_TIME_UNITS = (
    TimeUnit("h", "hours", 3600.0, 2),
    TimeUnit("min", "minutes", 60.0, 1),
    TimeUnit("s", "seconds", 1.0, 1),
)


def time_unit(longest: float) -> TimeUnit:
    """One unit for times up to `longest` seconds, so that they compare at a glance."""
    fitting = (unit for unit in _TIME_UNITS if longest >= 2 * unit.seconds)
    return next(fitting, _TIME_UNITS[-1])


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


def percent_cell(share: float, *, is_shaded: bool = True) -> Cell:
    """A cell with a probability or share; shaded by it."""
    if not math.isfinite(share):
        return Cell(NONE)
    text = f"{share:.0%}" if is_shaded else f"{share:.1%}"
    return Cell(text, share, share=share if is_shaded else None)


def interval_words(interval: Interval, digits: int = 4) -> str:
    """`[low, high]`; an end that is not finite is a dash."""
    ends = (f"{v:.{digits}f}" if math.isfinite(v) else NONE for v in interval)
    return f"[{', '.join(ends)}]"
