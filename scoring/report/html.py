"""A report as one HTML file that needs nothing else: styles, script and charts are inside.

Everything that comes from logs passes through `escape`. As a second lock, the page's own
content security policy forbids every request and every script and style but its own.
"""

import base64
import hashlib
import math
from collections.abc import Iterator, Sequence
from html import escape

from ..drawing import colour, dash
from .document import (
    Block,
    Cell,
    Chart,
    Charts,
    Code,
    Column,
    DataTable,
    Document,
    Section,
)
from .script import JAVASCRIPT
from .style import NUM_HEATS, css


def render(document: Document) -> str:
    """The whole file."""
    style = css()
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="'
            f"default-src 'none'; style-src {_hash(style)}; "
            f"script-src {_hash(JAVASCRIPT)}; base-uri 'none'; form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f'<meta name="generator" content="{escape(document.generator)}">',
            f"<title>{escape(document.title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            '<a class="skip" href="#content">Skip to the leaderboard</a>',
            *_header(document),
            '<main id="content">',
            *_sections(document),
            "</main>",
            f"<footer>Written by {escape(document.generator)}.</footer>",
            f"<script>{JAVASCRIPT}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _header(document: Document) -> Iterator[str]:
    yield "<header>"
    yield f"<h1>{escape(document.title)}</h1>"
    if document.banner:
        yield f'<p class="banner" role="note">{escape(document.banner)}</p>'
    yield '<dl class="facts">'
    for label, value in document.summary:
        yield f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"
    yield "</dl>"
    yield from _remarks("warnings", "Warnings", document.warnings)
    yield from _remarks("notes", "Notes", document.notes)
    yield '<nav aria-label="Sections"><ul>'
    for section in document.sections:
        yield f'<li><a href="#{section.key}">{escape(section.title)}</a></li>'
    yield "</ul></nav>"
    yield "</header>"


def _remarks(kind: str, title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        return
    yield f'<div class="{kind}" role="note" aria-labelledby="{kind}-title">'
    yield f'<h2 id="{kind}-title">{title}</h2><ul>'
    for line in lines:
        yield f"<li>{escape(line)}</li>"
    yield "</ul></div>"


def _sections(document: Document) -> Iterator[str]:
    for section in document.sections:
        yield f'<section id="{section.key}" aria-labelledby="{section.key}-title">'
        yield f'<h2 id="{section.key}-title">{escape(section.title)}</h2>'
        yield f'<p class="lead">{escape(section.explanation)}</p>'
        for number, block in enumerate(section.blocks, start=1):
            yield from _block(section, number, block)
        yield "</section>"


def _block(section: Section, number: int, block: Block) -> Iterator[str]:
    if isinstance(block, DataTable):
        yield from _table(block)
    elif isinstance(block, Charts):
        yield from _charts(block, f"{section.key}-{number}")
    else:
        yield from _code(block)


def _code(block: Code) -> Iterator[str]:
    yield f'<p class="label">{escape(block.label)}</p>'
    yield f'<pre tabindex="0"><code>{escape(block.text)}</code></pre>'


def _table(table: DataTable) -> Iterator[str]:
    name = f"table-{table.key}"
    if table.is_long:
        yield f'<details class="block"><summary>{escape(table.caption)}</summary>'
    else:
        yield '<div class="block">'
    yield (
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{name}-caption">'
        f'<table{" class=sortable" if table.is_sortable else ""} id="{name}">'
        f'<caption id="{name}-caption"><span>{escape(table.caption)}</span></caption>'
    )
    yield "<thead><tr>" + "".join(map(_head, table.columns)) + "</tr></thead><tbody>"
    header = next((i for i, c in enumerate(table.columns) if not c.is_numeric), 0)
    for row in table.rows:
        cells = (
            _cell(column, cell, is_header=i == header)
            for i, (column, cell) in enumerate(zip(table.columns, row, strict=True))
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'
    yield "</details>" if table.is_long else "</div>"


def _head(column: Column) -> str:
    kind = ' class="n"' if column.is_numeric else ""
    first = ' data-first="descending"' if column.first_order == "descending" else ""
    return f'<th scope="col"{kind}{first}>{_breakable(column.name)}</th>'


def _cell(column: Column, cell: Cell, *, is_header: bool) -> str:
    classes = ["n"] if column.is_numeric else []
    if cell.share is not None:
        heat = math.ceil(min(1.0, cell.share) * NUM_HEATS - 1e-9)
        classes += [f"h{heat}"] if heat > 0 else []
    attributes = f' class="{" ".join(classes)}"' if classes else ""
    if column.is_numeric and isinstance(cell.value, int | float):
        attributes += f' data-v="{cell.value!r}"'
    content = _breakable(cell.text)
    content += "".join(
        f"<small>{_breakable(d)}</small>" for d in cell.detail.splitlines()
    )
    if column.scale and cell.interval and isinstance(cell.value, int | float):
        drawn = _whisker(column.scale, cell.interval, float(cell.value))
        content = f'<div class="measure">{drawn}<div>{content}</div></div>'
    tag, scope = ("th", ' scope="row"') if is_header else ("td", "")
    return f"<{tag}{scope}{attributes}>{content}</{tag}>"


def _breakable(text: str) -> str:
    """Names with underscores may break after them."""
    return escape(text).replace("_", "_<wbr>")


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


def _charts(block: Charts, name: str) -> Iterator[str]:
    yield '<div class="block">'
    yield '<ul class="legend" aria-label="Legend">'
    for series, submission in enumerate(block.legend):
        yield (
            f'<li><span data-s="{series}">{_swatch(series, dashed=block.is_wide)}'
            f"<b>{series + 1}</b>{_breakable(submission)}</span></li>"
        )
    yield "</ul>"
    yield f'<div class="charts{" wide" if block.is_wide else ""}">'
    for number, chart in enumerate(block.charts, start=1):
        yield from _chart(chart, f"{name}-{number}")
    yield "</div>"
    if block.note:
        yield f'<p class="note">{escape(block.note)}</p>'
    yield "</div>"


def _swatch(series: int, *, dashed: bool) -> str:
    pattern = dash(series, always=dashed)
    return (
        '<svg class="swatch" viewBox="0 0 26 8" aria-hidden="true">'
        f'<path class="profile {colour(series)}" d="M0 4H26"{pattern}/></svg>'
    )


def _chart(chart: Chart, name: str) -> Iterator[str]:
    subtitle = f"<small>{escape(chart.subtitle)}</small>" if chart.subtitle else ""
    yield f"<figure><figcaption>{_breakable(chart.title)}{subtitle}</figcaption>"
    yield (
        f'<svg viewBox="0 0 {chart.width} {chart.height}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(chart.title)}</title>'
        f'<desc id="{name}-desc">{escape(chart.description)}</desc>'
    )
    yield chart.body
    yield "</svg></figure>"
