"""`algoperf analyze`: the analyses of the benchmark paper, over logs."""

import argparse

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
        "--figures",
        type=scoring_options.path,
        metavar="DIR",
        help="also write figures (SVG)",
    )


def execute(options: argparse.Namespace) -> int:
    """Prints the tables of an analysis; writes its figures where asked to."""
    catalogue = registry.scoring_module("analysis.catalogue")
    report = catalogue.analyse(options.name, scoring_options.leaderboard(options))
    output.say(report.text())
    if options.figures:
        for number, figure in enumerate(report.figures, start=1):
            path = options.figures / f"{options.name}_{number}.svg"
            output.write(path, figure.svg(), "Figure")
    return 0
