"""Renders a trial's instruments as one self-contained HTML file without scripts."""

import base64
import hashlib
from collections.abc import Iterator
from html import escape

import algoperf

from ..figures import Chart
from ..palette import DRAWINGS, series, themes
from . import screen
from .record import Record

_PAGE = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main,header,footer{max-width:1560px;margin:0 auto;padding:0 20px}
header{padding-top:24px}
h1{font-size:1.4rem;line-height:1.25;margin:0 0 12px;overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;gap:6px 28px;margin:0 0 16px}
.facts div{min-width:0}
.facts dt{font-size:.78rem;color:var(--quiet)}
.facts dd{margin:0;font-weight:600;overflow-wrap:anywhere}
.notes{border-left:4px solid var(--warn-line);background:var(--warn-page);color:var(--warn-ink);
  border-radius:4px;padding:8px 16px;margin:0 0 16px}
.notes p{margin:4px 0;overflow-wrap:anywhere}
.panels{display:grid;gap:16px;grid-template-columns:repeat(3,minmax(0,1fr))}
.panel{border:1px solid var(--line);border-top:5px solid var(--head);border-radius:8px;
  padding:10px 12px 12px;background:var(--raised);min-width:0}
.panel.full{grid-column:1/-1}
.panel.full .charts{display:grid;gap:12px;grid-template-columns:repeat(3,minmax(0,1fr))}
.panel.full .charts figure:last-child:nth-child(2){grid-column:span 2}
.blue{--head:#4a73ad}.orange{--head:#f28033}.green{--head:#4d9966}.plain{--head:var(--quiet)}
h2{font-size:1.05rem;margin:0}
.reading{margin:0 0 10px;color:var(--quiet);font-size:.87rem}
figure{margin:0 0 12px;padding:8px 8px 4px;border:1px solid var(--line);border-radius:6px;
  background:var(--page);min-width:0}
figure:last-child{margin-bottom:0}
.full figure{margin:0}
.full figure svg{max-width:560px}
figcaption{font-weight:600;font-size:.9rem;overflow-wrap:anywhere}
figcaption small{font-weight:400;color:var(--quiet);margin-left:.6em}
figure svg{display:block;width:100%;height:auto;max-height:340px}
.bar{stroke:none!important;fill-opacity:.42}
.cell{fill:var(--c0)}
.dot.mild{fill-opacity:.45;stroke:none!important}
footer{color:var(--quiet);font-size:.82rem;padding-top:20px;padding-bottom:32px}
@media (max-width:1000px){.panels,.panel.full .charts{grid-template-columns:minmax(0,1fr)}
  .panel.full .charts figure:last-child:nth-child(2){grid-column:auto}}
@media (max-width:520px){main,header,footer{padding-left:10px;padding-right:10px}
  svg text{font-size:13px}}
"""


def css() -> str:
    """The style sheet."""
    fills = "".join(f".bar.c{i}{{fill:var(--c{i})}}" for i in range(8))
    return f"{themes()}{_PAGE}{DRAWINGS}{series()}{fills}.dot.mild{{stroke:none}}"


def render(record: Record, *, refresh_seconds: float | None = None) -> str:
    """The whole page. refresh_seconds: interval at which the browser reloads it; None: never."""
    style = css()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    refresh = (
        f'<meta http-equiv="refresh" content="{refresh_seconds:g}">\n'
        if refresh_seconds is not None
        else ""
    )
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="'
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
            "form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"{refresh}<title>{escape(record.title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            *_header(record),
            '<main class="panels">',
            *(line for panel in screen.panels(record) for line in _panel(panel)),
            "</main>",
            f"<footer>Written by algoperf {escape(algoperf.__version__)}.</footer>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _header(record: Record) -> Iterator[str]:
    yield f"<header><h1>{escape(record.title)}</h1>"
    yield '<dl class="facts">'
    for name, value in screen.facts(record):
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
    yield "</dl>"
    remarks = screen.remarks(record)
    if remarks:
        yield '<div class="notes" role="note">'
        yield from (f"<p>{escape(remark)}</p>" for remark in remarks)
        yield "</div>"
    yield "</header>"


def _panel(panel: screen.Panel) -> Iterator[str]:
    wide = " full" if panel.kind == "plain" else ""
    name = panel.title.lower().replace(" ", "-")
    yield f'<section class="panel {panel.kind}{wide}" aria-labelledby="{name}">'
    yield f'<h2 id="{name}">{escape(panel.title)}</h2>'
    yield f'<p class="reading">{escape(panel.reading)}</p><div class="charts">'
    for number, chart in enumerate(panel.charts):
        yield from _figure(chart, f"{name}-{number}")
    yield "</div></section>"


def _figure(chart: Chart, name: str) -> Iterator[str]:
    small = f"<small>{escape(chart.subtitle)}</small>" if chart.subtitle else ""
    yield f"<figure><figcaption>{escape(chart.title)}{small}</figcaption>"
    yield (
        f'<svg viewBox="0 0 {chart.width} {chart.height}" role="img" '
        f'aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(chart.title)}</title>'
        f'<desc id="{name}-d">{escape(chart.description)}</desc>'
    )
    yield f"{chart.body}</svg></figure>"
