"""What a report says, as values; how it looks is for the modules that write formats.

`html.py`, `markdown.py`, `latex.py` and `data.py` turn the same `Document` into text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..figures import Chart, Charts
from ..tables import (
    NONE,
    TIMES,
    Cell,
    Column,
    DataTable,
    Value,
    count_cell,
    duration,
    duration_cell,
    interval_words,
    number_cell,
    percent_cell,
    probability_cell,
    text_cell,
)

__all__ = [
    "NONE",
    "TIMES",
    "Block",
    "Cell",
    "Chart",
    "Charts",
    "Code",
    "Column",
    "DataTable",
    "Document",
    "Link",
    "Section",
    "TimeUnit",
    "Value",
    "count_cell",
    "duration",
    "duration_cell",
    "interval_words",
    "number_cell",
    "percent_cell",
    "probability_cell",
    "text_cell",
    "time_unit",
]


@dataclass(frozen=True)
class Code:
    """Commands to copy."""

    label: str
    text: str


@dataclass(frozen=True)
class Link:
    """Words that lead to a neighbouring page."""

    text: str
    href: str


Block = DataTable | Charts | Code


@dataclass(frozen=True)
class Section:
    """A part with a heading, and what a reader sees in it in a sentence or two."""

    key: str
    title: str
    explanation: str
    blocks: Sequence[Block]

    def tables(self) -> list[DataTable]:
        """Its tables, in order."""
        return [block for block in self.blocks if isinstance(block, DataTable)]

    def charts(self) -> list[tuple[Chart, Sequence[str]]]:
        """Its charts, each with its legend."""
        groups = [block for block in self.blocks if isinstance(block, Charts)]
        return [(chart, group.legend) for group in groups for chart in group.charts]


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
    description: str = ""  # what the board is about, in its organisers' words
    trail: Sequence[Link] = field(default=())  # pages above this one, outermost first

    def tables(self) -> Iterator[DataTable]:
        """All tables, in order."""
        for section in self.sections:
            yield from section.tables()


@dataclass(frozen=True)
class TimeUnit:
    """Hours, minutes or seconds, and how many decimals suit them."""

    name: str
    plural: str
    seconds: float
    digits: int

    def words(self, seconds: float) -> str:
        """A time in this unit; in a smaller one where it would be shown as zero."""
        text = f"{seconds / self.seconds:.{self.digits}f}"
        if seconds > 0 and float(text) == 0:
            return duration(seconds)
        return f"{text} {self.name}"


_TIME_UNITS = (
    TimeUnit("h", "hours", 3600.0, 2),
    TimeUnit("min", "minutes", 60.0, 1),
    TimeUnit("s", "seconds", 1.0, 1),
)


def time_unit(longest: float) -> TimeUnit:
    """One unit for times up to `longest` seconds, so that they compare at a glance."""
    fitting = (unit for unit in _TIME_UNITS if longest >= 2 * unit.seconds)
    return next(fitting, _TIME_UNITS[-1])
