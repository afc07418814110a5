"""Types of arguments that all commands share, each checked where it is read; common options.

The command line's parser uses `path` for every argument of type `Path`, and `whole_number` and
`number` for `int` and `float`.
"""

import argparse
import math
from pathlib import Path

from algoperf import paths
from algoperf.errors import BadSettings

_MAX_DIGITS = 20  # of any number that a command takes


def path(text: str) -> Path:
    """A path with `~` and `$VARIABLES` expanded; refuses what cannot name a file."""
    try:
        return paths.expanded(text)
    except BadSettings as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def whole_number(text: str) -> int:
    """An integer of a size that a computer can count to."""
    digits = text.strip().lstrip("+-")
    try:
        if len(digits) > _MAX_DIGITS or not text.isascii():
            raise ValueError
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{paths.shown(text)} is not a whole number of at most {_MAX_DIGITS} digits."
        ) from None


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{paths.shown(text)} is not a finite number.")
    return value


def add_read(parser: argparse._ActionsContainer, what: str) -> None:
    """`--read`, which the protocols share; what: the folders that are read."""
    parser.add_argument(
        "--read",
        type=Path,
        nargs="+",
        default=(),
        metavar="DIR",
        help=f"{what} to report beside the runs, or alone.",
    )
