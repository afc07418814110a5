"""Colours of pages and drawings, for light and dark, and the style of what is drawn."""

# Text has a contrast of at least 4.5 : 1 against its background, curves of 3 : 1
# (tests/scoring/test_report_html.py computes both).
LIGHT = {
    "page": "#ffffff",
    "raised": "#f6f7f9",
    "ink": "#1b1f24",
    "quiet": "#57606a",
    "line": "#d5dae0",
    "shade": "#00000026",
    "link": "#0b5cad",
    "warn-page": "#fff6e0",
    "warn-ink": "#6b4400",
    "warn-line": "#d9a520",
    "stop-page": "#fdeceb",
    "stop-ink": "#8a1c16",
    "stop-line": "#d0453b",
    "heat": "#cfe0f6",
    "c0": "#2f6fc4",
    "c1": "#c8561a",
    "c2": "#1c8264",
    "c3": "#b03a8c",
    "c4": "#6d54c9",
    "c5": "#857009",
    "c6": "#c03545",
    "c7": "#55707f",
}
DARK = {
    "page": "#14171a",
    "raised": "#1c2024",
    "ink": "#e6e8eb",
    "quiet": "#a5aeb8",
    "line": "#353b42",
    "shade": "#00000099",
    "link": "#7ab7ff",
    "warn-page": "#2e2510",
    "warn-ink": "#f3d58f",
    "warn-line": "#a8821f",
    "stop-page": "#351917",
    "stop-ink": "#ffb4ad",
    "stop-line": "#c0463d",
    "heat": "#27466e",
    "c0": "#6ea8f0",
    "c1": "#f0935a",
    "c2": "#4fc49b",
    "c3": "#e27fc0",
    "c4": "#a895f0",
    "c5": "#cdb43f",
    "c6": "#f07f88",
    "c7": "#9db5c3",
}

# Of the elements that `drawing.py` makes.
DRAWINGS = """
svg text{fill:var(--quiet);font-size:12px;font-family:inherit}
svg text.target{fill:var(--ink)}
svg .grid{stroke:var(--line);stroke-width:1;opacity:.7}
svg .axis{stroke:var(--quiet);stroke-width:1}
svg .row{stroke:var(--line);stroke-width:1}
svg line.target{stroke:var(--ink);stroke-width:1.2;stroke-dasharray:4 3}
.profile,.curve,.spread{fill:none;stroke-linejoin:round;stroke-linecap:round}
.profile{stroke-width:2;stroke-linecap:butt}
.curve{stroke-width:1.2;opacity:.8}
.spread{stroke-width:5;opacity:.3}
.dot{stroke:var(--page)!important;stroke-width:1}
.marker{fill:none;stroke:var(--ink);stroke-width:1.5;pointer-events:none}
.hit{fill:transparent;stroke:none}
.tip:hover .dot{stroke:var(--ink)!important;stroke-width:1.5}
.band{fill-opacity:.14;stroke:none!important}
"""


def variables(colours: dict[str, str]) -> str:
    """The colours as variables of a style sheet."""
    return "".join(f"--{name}:{value};" for name, value in colours.items())


def series() -> str:
    """A class for each colour of a submission."""
    names = [name for name in LIGHT if name[0] == "c" and name[1:].isdigit()]
    return "\n".join(
        f".{name}{{stroke:var(--{name})}}.dot.{name},.band.{name}{{fill:var(--{name})}}"
        for name in names
    )


def themes() -> str:
    """Light colours, and dark ones where they are preferred."""
    return (
        f":root{{color-scheme:light dark;{variables(LIGHT)}}}\n"
        f"@media (prefers-color-scheme:dark){{:root{{{variables(DARK)}}}}}"
    )
