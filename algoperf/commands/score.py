"""`algoperf score`: ranks submissions from their logs."""

import argparse
from pathlib import Path

from algoperf import logs, registry
from algoperf.commands import scoring_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    scoring_options.add_arguments(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the leaderboard"
    )
    parser.add_argument(
        "--figure",
        type=Path,
        metavar="FILE",
        help="also write the performance profiles (SVG)",
    )


def execute(options: argparse.Namespace) -> int:
    """Prints the leaderboard; writes it where asked to."""
    board = scoring_options.leaderboard(options)
    print(board.text(), end="")
    if options.json:
        logs.write_atomically(options.json, board.to_json())
    if options.figure:
        figure = registry.scoring_module("profile_figure").profile_figure(board)
        logs.write_atomically(options.figure, figure.svg())
        print(f"Performance profiles: {options.figure}")
    return 0
