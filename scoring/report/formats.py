"""The formats of a report by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from algoperf.errors import BadSettings

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
    """The format whose files end in `suffix`; without one HTML; BadSettings for others."""
    if not suffix:
        return DEFAULT_FORMAT
    for name, known in FORMATS.items():
        if known.suffix == suffix.lower():
            return name
    endings = ", ".join(f"{known.suffix} ({name})" for name, known in FORMATS.items())
    raise BadSettings(
        f"No report is written as {suffix!r}: a report's name ends in {endings}. Rename "
        "it, or choose with --format."
    )
