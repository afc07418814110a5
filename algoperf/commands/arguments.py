"""Types of arguments that all commands share: each is checked where it is read.

The command line's parser uses `path` for every argument of type `Path`, and `whole_number` and
`number` for `int` and `float`; a command that knows more asks for `count`.
"""

import argparse
import math
import sys
from pathlib import Path

from algoperf import paths
from algoperf.errors import BadSettings

STDOUT = Path("-")
_MAX_COUNT = 1_000_000
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


def count(text: str) -> int:
    """How many of something: 1 or more, and not absurdly many."""
    value = whole_number(text)
    if not 1 <= value <= _MAX_COUNT:
        raise argparse.ArgumentTypeError(
            f"{value} is not a number from 1 to {_MAX_COUNT:,}."
        )
    return value


def write_output(output: Path, content: str | bytes) -> bool:
    """Writes a result to a file, or to stdout where `output` is `-`; True if to a file."""
    if output != STDOUT:
        from algoperf import logs  # imports numpy

        logs.write_atomically(output, content)
        return True
    data = content if isinstance(content, bytes) else content.encode()
    sys.stdout.write(data.decode(errors="backslashreplace"))
    return False
