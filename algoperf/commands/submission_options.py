"""Options that commands which load a submission share."""

import argparse
from pathlib import Path

from algoperf.campaign.plan import SPACE_FILE


def add_search_space(parser: argparse._ActionsContainer) -> None:
    """`--search-space`."""
    parser.add_argument(
        "--search-space",
        type=Path,
        metavar="FILE",
        help="JSON file of the tuning search space "
        f"(default: {SPACE_FILE} beside the submission, if it exists).",
    )
