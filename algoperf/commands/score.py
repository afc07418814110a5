"""`algoperf score`: ranks submissions from their logs."""

import argparse
from pathlib import Path
from typing import Any

from algoperf import registry
from algoperf.commands import output, scoring_options

EXAMPLES = """\
examples:
  algoperf score experiments --studies 1
  algoperf score experiments --json board.json --figure profiles.svg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    scoring_options.add_arguments(parser)
    output.add_json(parser, "the leaderboard")
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help="Also write the performance profiles as SVG; - prints them instead of the tables.",
    )


def execute(options: argparse.Namespace) -> int:
    """Prints the leaderboard; writes it to files if requested."""
    output.check(options.json, options.figure)
    board = scoring_options.leaderboard(options)
    if output.STDOUT not in (options.json, options.figure):
        output.say(board.text(), end="")
    if options.json:
        output.write(options.json, board.to_json(), "Leaderboard")
    if options.figure:
        output.write(options.figure, _profiles(board), "Performance profiles")
    return 0


def _profiles(board: Any) -> str:
    charts = registry.scoring_module("report.charts")
    figures = registry.scoring_module("figures")
    legend = [f"{entry.submission}  {entry.score:.3f}" for entry in board.entries]
    svg: str = figures.standalone(charts.profile_chart(board, "seconds"), legend)
    return svg
