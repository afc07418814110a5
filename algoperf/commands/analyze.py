"""`algoperf analyze`: the analyses of the benchmark paper, over logs."""

import argparse
from pathlib import Path

from algoperf import logs, registry
from algoperf.commands import scoring_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    catalogue = registry.scoring_module("analysis.catalogue")
    summaries = "; ".join(
        f"{name}: {a.summary}" for name, a in catalogue.ANALYSES.items()
    )
    parser.add_argument("name", metavar="NAME", help=summaries)
    scoring_options.add_arguments(parser)
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="also write figures (SVG)"
    )


def execute(options: argparse.Namespace) -> int:
    """Prints the tables of an analysis; writes its figures where asked to."""
    catalogue = registry.scoring_module("analysis.catalogue")
    report = catalogue.analyse(options.name, scoring_options.leaderboard(options))
    print(report.text())
    if options.figures:
        for number, figure in enumerate(report.figures, start=1):
            path = options.figures / f"{options.name}_{number}.svg"
            logs.write_atomically(path, figure.svg())
            print(f"Figure: {path}")
    return 0
