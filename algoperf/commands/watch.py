"""`algoperf watch`: follows running trials in the terminal."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from algoperf import registry
from algoperf.commands import output
from algoperf.errors import BadSettings
from algoperf.runner.supervision import folder_lock

EXAMPLES = """\
examples:
  algoperf watch experiments
  algoperf watch experiments --json -"""

_LONGEST = 86_400  # seconds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="Directory containing the logs.",
    )
    parser.add_argument(
        "--once",
        action="store_true",
        help="Print once and exit; the default if the output is not a terminal.",
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=2.0,
        metavar="S",
        help="Seconds between updates (default: %(default)g).",
    )
    output.add_json(parser, "the state of each trial")


def execute(options: argparse.Namespace) -> int:
    """Shows the trials until interrupted, or once."""
    if not 0 < options.interval <= _LONGEST:
        raise BadSettings(
            f"The interval must be more than 0 seconds and at most a day, not "
            f"{options.interval:g}."
        )
    live = registry.scoring_module("report.live")
    watcher = live.Watcher(options.directory, folder_lock.is_held)
    if options.json is not None:
        content = live.as_json(watcher.look(time.time()))
        output.write_json(options.json, content, "States")
    elif options.once or sys.stdout is None or not sys.stdout.isatty():
        output.say(live.screen(watcher.look(time.time())))
    else:
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
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=out, force_terminal=True, highlight=False)
    with Live(
        console=console,
        auto_refresh=False,
        vertical_overflow="crop",
        redirect_stdout=False,
        redirect_stderr=False,
    ) as live:
        try:
            while True:
                text = frame((console.width, console.height - 1))
                drawn = Text(text, no_wrap=True, overflow="ellipsis")
                live.update(drawn, refresh=True)
                sleep(interval)
        except KeyboardInterrupt:
            pass  # the way to end it
