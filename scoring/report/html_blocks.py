"""Tables, charts and commands of an HTML report.

Everything that comes from logs passes through `escape`.
"""

import math
import re
from collections.abc import Iterator, Sequence
from html import escape

from ..drawing import colour, dash
from ..figures import Switch
from .document import (
    Block,
    Cell,
    Chart,
    Charts,
    Code,
    Column,
    DataTable,
    Section,
)
from .style import NUM_HEATS

_SHORT = 24  # characters
_TALL = 12  # rows; longer tables keep their head in sight


def block(section: Section, number: int, content: Block) -> Iterator[str]:
    """The lines of one block; `number` tells the blocks of a section apart."""
    if isinstance(content, DataTable):
        yield from _table(content)
    elif isinstance(content, Charts):
        yield from _charts(content, f"{section.key}-{number}")
    else:
        yield from _code(content)


def breakable(text: str) -> str:
    """Escaped text; names with underscores may break after them."""
    return escape(text).replace("_", "_<wbr>")


def link(text: str, target: str) -> str:
    """A link to a web page or to a neighbouring file; plain text for any other target."""
    if not is_link(target):
        return breakable(text)
    return f'<a href="{escape(target)}" rel="noopener noreferrer">{breakable(text)}</a>'


def is_link(target: str) -> bool:
    """Whether a page may lead there: http, https, or a relative path without a scheme."""
    if target.startswith(("https://", "http://")):
        return True
    return bool(target) and target[0] not in "/\\" and ":" not in target


def _fold(words: str, kind: str = "block") -> tuple[str, str]:
    """What opens and closes a block; one with words is folded up under them."""
    if not words:
        return f'<div class="{kind}">', "</div>"
    opened = f'<details class="{kind}"><summary>{breakable(words)}</summary>'
    return opened, "</details>"


def _code(code: Code) -> Iterator[str]:
    yield f'<p class="label">{escape(code.label)}</p>'
    yield (
        f'<pre tabindex="0" role="region" aria-label="{escape(code.label)}">'
        f"<code>{escape(code.text)}</code></pre>"
    )


def _table(table: DataTable) -> Iterator[str]:
    # A space in an identifier would make two of every reference to it.
    name = "table-" + re.sub(r"[^\w.-]", "-", table.key)
    opened, closed = _fold(table.caption if table.is_long else "")
    yield opened
    tall = " tall" if len(table.rows) > _TALL else ""
    yield (
        f'<div class="scroll{tall}" role="region" tabindex="0" '
        f'aria-labelledby="{name}-caption">'
        f'<table{" class=sortable" if table.is_sortable else ""} id="{name}" '
        f'data-key="{escape(table.key)}">'
        f'<caption id="{name}-caption"><span>{breakable(table.caption)}</span></caption>'
    )
    header = next((i for i, c in enumerate(table.columns) if not c.is_numeric), 0)
    heads = (_head(c, is_first=i == header) for i, c in enumerate(table.columns))
    yield f"<thead><tr>{''.join(heads)}</tr></thead><tbody>"
    short = _short_columns(table)
    for row in table.rows:
        cells = (
            _cell(column, cell, is_header=i == header, is_short=i in short)
            for i, (column, cell) in enumerate(zip(table.columns, row, strict=True))
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'
    yield closed


def _short_columns(table: DataTable) -> set[int]:
    """Columns of texts that are short enough to stand on one line."""
    return {
        i
        for i, column in enumerate(table.columns)
        if not column.is_numeric
        and all(len(row[i].text) <= _SHORT and not row[i].links for row in table.rows)
    }


def _head(column: Column, *, is_first: bool) -> str:
    classes = (["n"] if column.is_numeric else []) + (["first"] if is_first else [])
    kind = f' class="{" ".join(classes)}"' if classes else ""
    first = ' data-first="descending"' if column.first_order == "descending" else ""
    return f'<th scope="col"{kind}{first}>{breakable(column.name)}</th>'


def _cell(column: Column, cell: Cell, *, is_header: bool, is_short: bool) -> str:
    classes = (
        ["n"] if column.is_numeric else ["s"] if is_short and not is_header else []
    )
    if cell.share is not None:
        heat = math.ceil(min(1.0, cell.share) * NUM_HEATS - 1e-9)
        classes += [f"h{heat}"] if heat > 0 else []
    attributes = f' class="{" ".join(classes)}"' if classes else ""
    if column.is_numeric and isinstance(cell.value, int | float):
        attributes += f' data-v="{cell.value!r}"'
    content = link(cell.text, cell.href) if cell.href else breakable(cell.text)
    content += "".join(
        f"<small>{breakable(d)}</small>" for d in cell.detail.splitlines()
    )
    content += "".join(f"<small>{link(words, to)}</small>" for words, to in cell.links)
    if column.scale and cell.interval and isinstance(cell.value, int | float):
        drawn = _whisker(column.scale, cell.interval, float(cell.value))
        content = f'<div class="measure">{drawn}<div>{content}</div></div>'
    tag, scope = ("th", ' scope="row"') if is_header else ("td", "")
    return f"<{tag}{scope}{attributes}>{content}</{tag}>"


def _whisker(
    scale: tuple[float, float], interval: tuple[float, float], value: float
) -> str:
    """A value and its interval on a line that is the whole scale."""

    def x(number: float) -> str:
        share = (number - scale[0]) / (scale[1] - scale[0])
        return f"{6 + 138 * min(1.0, max(0.0, share)):.1f}"

    low, high = interval
    return (
        '<svg class="whisker" viewBox="0 0 150 18" aria-hidden="true">'
        '<line x1="6" x2="144" y1="9" y2="9"/>'
        f'<line class="range" x1="{x(low)}" x2="{x(high)}" y1="9" y2="9"/>'
        f'<circle cx="{x(value)}" cy="9" r="4.5"/></svg>'
    )


def _charts(charts: Charts, name: str) -> Iterator[str]:
    opened, closed = _fold(charts.fold)
    yield opened
    yield '<ul class="legend" aria-label="Legend">'
    for series, submission in enumerate(charts.legend):
        yield (
            f'<li><span data-s="{series}">{_swatch(series, dashed=charts.is_dashed)}'
            f"<b>{series + 1}</b>{breakable(submission)}</span></li>"
        )
    yield "</ul>"
    yield from _switches(charts.switches)
    width = max((chart.width for chart in charts.charts), default=0)
    wide = " wide" if charts.is_wide or width > 400 else ""
    yield f'<div class="charts{wide}">'
    for number, chart in enumerate(charts.charts, start=1):
        yield from _chart(chart, f"{name}-{number}")
    yield "</div>"
    if charts.note:
        yield f'<p class="note">{escape(charts.note)}</p>'
    yield closed


def _switches(switches: Sequence[Switch]) -> Iterator[str]:
    """Buttons that the page's script shows; the first option of each is chosen."""
    if not switches:
        return
    yield '<div class="switches" hidden>'
    for switch in switches:
        yield f'<div role="group" aria-label="{escape(switch.label)}">'
        yield f'<span aria-hidden="true">{escape(switch.label)}</span>'
        for number, (key, words) in enumerate(switch.options):
            yield (
                f'<button type="button" data-option="{escape(key)}" '
                f'aria-pressed="{"false" if number else "true"}">{escape(words)}</button>'
            )
        yield "</div>"
    yield "</div>"


def _swatch(series: int, *, dashed: bool) -> str:
    pattern = dash(series, always=dashed)
    return (
        '<svg class="swatch" viewBox="0 0 26 8" aria-hidden="true">'
        f'<path class="profile {colour(series)}" d="M0 4H26"{pattern}/></svg>'
    )


def _chart(chart: Chart, name: str) -> Iterator[str]:
    subtitle = f"<small>{escape(chart.subtitle)}</small>" if chart.subtitle else ""
    kind = "large" if chart.width > 400 else "small"
    yield (
        f'<figure class="{kind}"><figcaption>{breakable(chart.title)}{subtitle}'
        "</figcaption>"
    )
    yield (
        f'<svg viewBox="0 0 {chart.width} {chart.height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(chart.title)}</title>'
        f'<desc id="{name}-desc">{escape(chart.description)}</desc>'
    )
    if chart.views:
        for number, (key, body) in enumerate(chart.views.items()):
            shown = " on" if not number else ""
            yield f'<g class="view{shown}" data-view="{escape(key)}">{body}</g>'
    else:
        yield chart.body
    yield "</svg></figure>"
