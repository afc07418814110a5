"""`algoperf analyze`: the analyses of the benchmark paper and others, over logs."""

import argparse
from pathlib import Path

from algoperf import registry
from algoperf.commands import output, scoring_options

_EXAMPLES = """\
examples:
  algoperf analyze crossing experiments
  algoperf analyze grid experiments --figures figures"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    catalogue = registry.scoring_module("analysis.catalogue")
    width = max(map(len, catalogue.ANALYSES))
    lines = [
        f"  {name:<{width}}  {a.summary}" for name, a in catalogue.ANALYSES.items()
    ]
    parser.epilog = "\n".join(["analyses:", *lines, "", _EXAMPLES])
    parser.add_argument(
        "name", metavar="NAME", help="Name of the analysis; the list is below."
    )
    scoring_options.add_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="Also write tables and figures as a report; the extension of FILE selects the "
        "format: .html, .md, .json, .csv or .tex.",
    )
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="Also write the figures to DIR (SVG).",
    )
    output.add_json(parser, "the tables")


def execute(options: argparse.Namespace) -> int:
    """Prints the tables of an analysis; writes the report and the figures if requested."""
    formats = registry.scoring_module("report.formats")
    given = options.output
    # Wrong names are found before the logs are read.
    chosen = formats.FORMATS[formats.format_of(given.suffix)] if given else None
    output.check(given, options.json)
    catalogue = registry.scoring_module("analysis.catalogue")
    catalogue.check(options.name)
    board = scoring_options.leaderboard(options)
    section = catalogue.analyse(options.name, board)
    if options.json != output.STDOUT:
        output.say("\n\n".join(table.text() for table in section.tables()))
    if chosen or options.json is not None:
        content = registry.scoring_module("report.content")
        document = content.analysis_document(board, section)
    if chosen:
        output.write(given, chosen.render(document), "Analysis")
    if options.json is not None:
        text = formats.FORMATS["json"].render(document)
        output.write(options.json, text, "Analysis")
    if options.figures:
        figures = registry.scoring_module("figures")
        for number, (chart, legend) in enumerate(section.charts(), start=1):
            path = options.figures / f"{options.name}_{number}.svg"
            output.write(path, figures.standalone(chart, legend), "Figure")
    return 0
