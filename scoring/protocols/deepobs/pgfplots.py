r"""The protocol's figures for LaTeX: `performance.tex` and `learning_rates.tex`.

To \input from the report's folder, whose `curves/*.dat` they read. The document sets the size of
a panel with \newcommand\figurewidth{…} and \newcommand\figureheight{…}.
"""

import math
from collections.abc import Iterator, Sequence

from algoperf.scoring.report.latex import plain

from . import figures
from .indicators import Result
from .runs import ACCURACIES, LOSSES

_ROWS = {
    LOSSES[0]: "test loss",
    LOSSES[1]: "training loss",
    ACCURACIES[0]: "test accuracy",
    ACCURACIES[1]: "training accuracy",
}
_HEAD = r"""% Needs \usepackage{pgfplots}, \usepgfplotslibrary{groupplots,fillbetween}, and
% \newcommand\figurewidth{4.5cm} and \newcommand\figureheight{3.5cm} or other sizes of a panel.
\begin{tikzpicture}"""
_COMMON = (
    r"width=\figurewidth, height=\figureheight, scale only axis, "
    r"every axis/.append style={font=\tiny}, title style={font=\tiny}, "
    r"legend style={font=\tiny}"
)
# Colours that are told apart without seeing red and green, and dashes beside them.
_STYLES = (
    "blue!80!black",
    "orange!90!black, densely dashed",
    "teal!80!black, dashdotted",
    "violet, densely dotted",
    "brown, loosely dashed",
    "black, dotted",
)


def data_file(result: Result) -> str:
    """Where the curves of a problem and an optimizer are, from the report's folder."""
    return f"curves/{result.problem.name}__{result.optimizer}.dat"


def performance(results: Sequence[Result]) -> str:
    """Four rows, test and training losses and accuracies, with a column for each problem."""
    columns, names = figures.by_problem(results), figures.legend(results)
    size = f"group size={len(columns)} by {len(_ROWS)}"
    lines = [rf"\begin{{groupplot}}[group style={{{size}}}, {_COMMON}]"]
    for curve, words in _ROWS.items():
        for number, column in enumerate(columns):
            shown = [result for result in column if result.chosen.has(curve)]
            if not shown:
                lines.append(r"\nextgroupplot[group/empty plot]")
                continue
            lines += _panel(shown, names, curve, "" if number else words)
    return "\n".join([_HEAD, *lines, r"\end{groupplot}", r"\end{tikzpicture}", ""])


def _panel(
    column: Sequence[Result], names: Sequence[str], curve: str, label: str
) -> Iterator[str]:
    problem = column[0].problem
    options = [f"ylabel={{{label}}}"] if label else []
    if curve == LOSSES[0]:
        options.append(f"title={{{plain(problem.name)}}}")
    if curve == ACCURACIES[1]:
        options.append("xlabel={epoch}")
    shown = figures.range_of(column, curve)
    if shown is not None:
        options.append(f"ymin={shown[0]:.6g}, ymax={shown[1]:.6g}")
    yield rf"\nextgroupplot[{', '.join(options)}]"
    if curve == problem.judged_by and problem.convergence is not None:
        ends = f"({{rel axis cs:0,0}}|-{{axis cs:0,{problem.convergence:.6g}}})"
        other = ends.replace("rel axis cs:0,0", "rel axis cs:1,0")
        yield rf"\draw[gray, dashed] {ends} -- {other};"
    for result in column:
        yield from _curve(result, names, curve)


def _curve(result: Result, names: Sequence[str], curve: str) -> Iterator[str]:
    """The mean over the seeds as a line, one standard deviation around it as a band."""
    number, file = names.index(result.optimizer), data_file(result)
    style = _STYLES[number % len(_STYLES)]
    mean, spread = rf"\thisrow{{{curve}_mean}}", rf"\thisrow{{{curve}_std}}"
    for name, sign in (("low", "-"), ("high", "+")):
        y = f"y expr={mean}{sign}{spread}"
        options = f"draw=none, forget plot, name path={name}{number}"
        yield rf"\addplot[{options}] table[x=epoch, {y}] {{{file}}};"
    colour = style.partition(",")[0]
    yield (
        rf"\addplot[{colour}, opacity=0.2, forget plot] "
        rf"fill between[of=low{number} and high{number}];"
    )
    yield rf"\addplot[{style}] table[x=epoch, y={curve}_mean] {{{file}}};"
    if curve == LOSSES[0]:
        yield rf"\addlegendentry{{{plain(result.optimizer)}}}"


def learning_rates(results: Sequence[Result], per_row: int = 4) -> str:
    """A panel for each problem: final performance relative to the best, by learning rate."""
    columns, names = figures.by_problem(results), figures.legend(results)
    rows = math.ceil(len(columns) / per_row)
    size = f"group size={min(per_row, len(columns))} by {rows}"
    lines = [
        rf"\begin{{groupplot}}[group style={{{size}}}, {_COMMON}, xmode=log, ymin=0, "
        "ymax=1.05, ytick=\\empty, xlabel={learning rate}]"
    ]
    for column in columns:
        lines.append(rf"\nextgroupplot[title={{{plain(column[0].problem.name)}}}]")
        for result in column:
            found = result.sensitivity
            points = " ".join(
                f"({rate:.8g},{value:.6g})"
                for rate, value in zip(
                    found.learning_rates, found.relative, strict=True
                )
                if rate > 0
            )
            style = _STYLES[names.index(result.optimizer) % len(_STYLES)]
            lines.append(rf"\addplot[{style}] coordinates {{{points}}};")
            lines.append(rf"\addlegendentry{{{plain(result.optimizer)}}}")
    return "\n".join([_HEAD, *lines, r"\end{groupplot}", r"\end{tikzpicture}", ""])
