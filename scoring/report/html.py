"""A report as one HTML file that needs nothing else: styles, script, charts and data are inside.

Everything that comes from logs passes through `escape`, and the data through
`data.for_script`. As a second lock, the page's own content security policy forbids every
request and every script and style but its own.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape

from . import data
from .document import Document, Link
from .html_blocks import block, link
from .script import javascript
from .style import css

_SHOWN_REMARKS = 3  # more are folded up


def render(document: Document) -> str:
    """The whole file."""
    style, script = css(), javascript()
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="'
            f"default-src 'none'; style-src {_hash(style)}; "
            f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f'<meta name="generator" content="{escape(document.generator)}">',
            f"<title>{escape(document.title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            f'<a class="skip" href="#content">Skip to {_first_title(document)}</a>',
            *_header(document),
            '<div class="page">',
            *_navigation(document),
            '<main id="content" tabindex="-1">',
            *_sections(document),
            "</main>",
            "</div>",
            f"<footer>Written by {escape(document.generator)}.</footer>",
            '<script type="application/json" id="data">'
            f"{data.for_script(document)}</script>",
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _first_title(document: Document) -> str:
    return escape(
        document.sections[0].title.lower() if document.sections else "content"
    )


def _header(document: Document) -> Iterator[str]:
    yield "<header>"
    yield from _trail(document.trail)
    yield f"<h1>{escape(document.title)}</h1>"
    if document.description:
        yield f'<p class="lead">{escape(document.description)}</p>'
    if document.banner:
        yield f'<p class="banner" role="note">{escape(document.banner)}</p>'
    yield '<dl class="facts">'
    for label, value in document.summary:
        yield f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"
    yield "</dl>"
    yield from _remarks("warnings", "Warnings", document.warnings)
    yield from _remarks("notes", "Notes", document.notes)
    yield "</header>"


def _trail(trail: Sequence[Link]) -> Iterator[str]:
    """Where the page is among others."""
    if trail:
        parts = "".join(f"<li>{link(step.text, step.href)}</li>" for step in trail)
        yield f'<nav class="trail" aria-label="Breadcrumb"><ol>{parts}</ol></nav>'


def _navigation(document: Document) -> Iterator[str]:
    yield '<nav class="sections" aria-label="Sections"><ul>'
    for section in document.sections:
        yield (f'<li><a href="#{escape(section.key)}">{escape(section.title)}</a></li>')
    yield "</ul></nav>"


def _remarks(kind: str, title: str, lines: Sequence[str]) -> Iterator[str]:
    """A list under a heading; a long one is folded up."""
    if not lines:
        return
    name = f"{kind}-title"
    yield f'<div class="{kind}" role="note" aria-labelledby="{name}">'
    is_long = len(lines) > _SHOWN_REMARKS
    if is_long:
        yield f'<details><summary><h2 id="{name}">{title} ({len(lines)})</h2></summary>'
    else:
        yield f'<h2 id="{name}">{title}</h2>'
    yield "<ul>"
    for line in lines:
        yield f"<li>{escape(line)}</li>"
    yield "</ul>"
    if is_long:
        yield "</details>"
    yield "</div>"


def _sections(document: Document) -> Iterator[str]:
    for section in document.sections:
        key = escape(section.key)
        yield f'<section id="{key}" aria-labelledby="{key}-title">'
        yield f'<h2 id="{key}-title">{escape(section.title)}</h2>'
        yield f'<p class="lead">{escape(section.explanation)}</p>'
        for number, content in enumerate(section.blocks, start=1):
            yield from block(section, number, content)
        yield "</section>"
