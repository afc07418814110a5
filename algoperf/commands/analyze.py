"""`algoperf analyze`: the analyses of the benchmark paper and others, over logs."""

import argparse
from pathlib import Path

from algoperf import registry
from algoperf.commands import output, scoring_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    catalogue = registry.scoring_module("analysis.catalogue")
    summaries = "; ".join(
        f"{name}: {a.summary}" for name, a in catalogue.ANALYSES.items()
    )
    parser.add_argument("name", metavar="NAME", help=summaries)
    scoring_options.add_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="also write tables and figures as a report; the extension of FILE selects the "
        "format: .html, .md, .json, .csv or .tex",
    )
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="also write the figures to DIR (SVG)",
    )


def execute(options: argparse.Namespace) -> int:
    """Prints the tables of an analysis; writes the report and the figures if requested."""
    formats = registry.scoring_module("report.formats")
    given = options.output
    # Wrong names are found before the logs are read.
    chosen = formats.FORMATS[formats.format_of(given.suffix)] if given else None
    output.check(given)
    catalogue = registry.scoring_module("analysis.catalogue")
    catalogue.check(options.name)
    board = scoring_options.leaderboard(options)
    section = catalogue.analyse(options.name, board)
    output.say("\n\n".join(table.text() for table in section.tables()))
    if chosen:
        content = registry.scoring_module("report.content")
        document = content.analysis_document(board, section)
        output.write(given, chosen.render(document), "Analysis")
    if options.figures:
        figures = registry.scoring_module("figures")
        for number, (chart, legend) in enumerate(section.charts(), start=1):
            path = options.figures / f"{options.name}_{number}.svg"
            output.write(path, figures.standalone(chart, legend), "Figure")
    return 0
