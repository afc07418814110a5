"""`algoperf watch`: follows running trials in the terminal."""

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from algoperf import registry
from algoperf.commands import output
from algoperf.errors import BadSettings

_CLEAR, _HOME, _END_OF_LINE, _END = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"
_LONGEST = 86_400  # seconds
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="directory containing the logs",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="print once and exit; the default if the output is not a terminal",
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=2.0,
        metavar="S",
        help="seconds between updates (default: %(default)g)",
    )


def execute(options: argparse.Namespace) -> int:
    """Shows the trials until interrupted, or once."""
    if not 0 < options.interval <= _LONGEST:
        raise BadSettings(
            f"The interval must be more than 0 seconds and at most a day, not "
            f"{options.interval:g}."
        )
    live = registry.scoring_module("report.live")
    watcher = live.Watcher(options.directory)
    if options.once or sys.stdout is None or not sys.stdout.isatty():
        output.say(live.screen(watcher.look(time.time())))
        return 0
    follow(lambda size: _frame(live, watcher, size), options.interval, sys.stdout)
    return 0


def _frame(live: Any, watcher: Any, size: tuple[int, int]) -> str:
    text: str = live.screen(watcher.look(time.time()), width=size[0], height=size[1])
    return text


def follow(
    frame: Callable[[tuple[int, int]], str],
    interval: float,
    out: TextIO,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Draws one frame over the other until Ctrl-C; leaves the last one standing.

    frame: what to show on a terminal with the given numbers of columns and lines.
    """
    out.write(_HIDE_CURSOR + _CLEAR)
    try:
        while True:
            columns, lines = shutil.get_terminal_size()
            text = frame((columns, lines - 1)).replace("\n", f"{_END_OF_LINE}\n")
            out.write(f"{_HOME}{text}{_END_OF_LINE}\n{_END}")
            out.flush()
            sleep(interval)
    except KeyboardInterrupt:
        pass  # the way to end it
    finally:
        out.write(_SHOW_CURSOR)
        out.flush()
