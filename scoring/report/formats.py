"""The formats of a report by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import data, html, latex, markdown
from .document import Document


@dataclass(frozen=True)
class Format:
    """How a report is written, and the usual ending of such a file's name."""

    suffix: str
    render: Callable[[Document], str]


FORMATS: Mapping[str, Format] = {
    "html": Format(".html", html.render),
    "md": Format(".md", markdown.render),
    "json": Format(".json", data.render_json),
    "csv": Format(".csv", data.render_csv),
    "latex": Format(".tex", latex.render),
}
DEFAULT_FORMAT = "html"


def format_of(suffix: str) -> str:
    """The format whose files end in `suffix`; HTML where none does."""
    for name, known in FORMATS.items():
        if known.suffix == suffix.lower():
            return name
    return DEFAULT_FORMAT
