"""Where a command's results go: standard output or files, with one sentence if they cannot."""

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

from algoperf import files, paths
from algoperf.errors import BadSettings

STDOUT = Path("-")


def say(text: str, *, end: str = "\n") -> None:
    """Prints at once; `algoperf.console` says what a stream that fails means."""
    print(text, end=end, flush=True)


def write(path: Path, content: str, what: str, *, more: str = "") -> None:
    """Writes a file and says so, or prints it where `path` is `-`."""
    if path == STDOUT:
        say(content, end="" if content.endswith("\n") else "\n")
        return
    files.write_output(path, content)
    say(f"{what}: {path}{more}")


def add_json(parser: argparse._ActionsContainer, what: str) -> None:
    """Adds `--json FILE`; - stands for standard output.

    what: what is written, such as "the leaderboard".
    """
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help=f"Write {what} to FILE as JSON; - prints it instead of the text.",
    )


def write_json(path: Path, content: object, what: str) -> None:
    """Writes a value as JSON; numbers that JSON lacks are null."""
    write(path, json.dumps(_strict(content), indent=2), what)


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def check(*paths: Path | None) -> None:
    """BadLogs for a path that can never be written, BadSettings for two that are one.

    To be asked before a long computation.
    """
    given = [path for path in paths if path is not None]
    for path in given:
        if path != STDOUT:
            files.check_output(path)
    real = [os.path.realpath(path) for path in given]
    if len(set(real)) < len(real):
        raise BadSettings(
            f"Two outputs would go to the same place: {', '.join(map(str, given))}. Give "
            "each a path of its own."
        )


def check_folder(folder: Path | None, option: str) -> None:
    """BadSettings where something that is no folder stands in the way of one."""
    if folder is None:
        return
    absolute = paths.absolute(folder)
    for path in (absolute, *absolute.parents):
        if os.path.lexists(path):
            if not path.is_dir():
                raise BadSettings(
                    f"--{option} is {paths.shown(folder)}, but {paths.shown(path)} is no "
                    "folder. Choose another."
                )
            if not os.access(path, os.W_OK):
                raise BadSettings(
                    f"--{option} is {paths.shown(folder)}, but {paths.shown(path)} cannot "
                    "be written to. Choose another."
                )
            return
