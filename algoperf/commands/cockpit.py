"""`algoperf cockpit`: shows what a trial's instruments measured, after it or while it runs."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from algoperf import registry
from algoperf.commands import output, watch
from algoperf.errors import BadSettings
from algoperf.files import write_output

EXAMPLES = """\
examples:
  algoperf cockpit experiments/mine
  algoperf cockpit experiments/mine --html cockpit.html
  algoperf cockpit experiments/mine --serve"""

_LONGEST = 86_400  # seconds
_LARGEST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    add = parser.add_argument
    add(
        "directory",
        type=Path,
        metavar="DIR",
        help="Folder of a trial that was run with --cockpit, or one above it.",
    )
    add(
        "--html",
        type=Path,
        metavar="FILE",
        help="Write one HTML file that needs nothing else.",
    )
    add(
        "--serve",
        action="store_true",
        help="Show it in a browser on this machine, live; prints the address.",
    )
    add(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="Port of --serve (default: any that is free).",
    )
    add(
        "--follow",
        action="store_true",
        help="Go on until interrupted: rewrite the file, or redraw the terminal.",
    )
    add(
        "--interval",
        type=float,
        default=5.0,
        metavar="S",
        help="Seconds between two looks; default: %(default)g.",
    )
    output.add_json(parser, "all measured values")


def execute(options: argparse.Namespace) -> int:
    """Prints the instruments, writes a page, or serves it until interrupted."""
    _check(options)
    records = registry.scoring_module("cockpit.record")
    folder = records.choose(options.directory)
    try:
        if options.json is not None:
            output.write_json(options.json, _facts(records.load(folder)), "Instruments")
        elif options.serve:
            _serve(folder, options)
        elif options.html is not None:
            _write(folder, options)
        else:
            _print(folder, options)
    except KeyboardInterrupt:
        pass  # the way to end it
    return 0


def _facts(record: Any) -> dict[str, Any]:
    """For programs: what was measured, step by step."""
    measured = record.measured
    return {
        "folder": record.folder,
        "is_running": record.is_running,
        "header": measured.header,
        "refused": measured.refused,
        "steps": [
            {
                "step": step,
                "values": values,
                "microseconds": measured.microseconds[step],
            }
            for step, values in sorted(measured.steps.items())
        ],
    }


def _check(options: argparse.Namespace) -> None:
    if not 0 < options.interval <= _LONGEST:
        raise BadSettings(
            f"--interval is {options.interval:g}; it must be above 0 and at most a day."
        )
    if not 0 <= options.port <= _LARGEST_PORT:
        raise BadSettings(
            f"--port is {options.port}; it must be from 0 to {_LARGEST_PORT:,}."
        )
    if options.serve and (options.html is not None or options.follow):
        raise BadSettings(
            "--serve shows the page in a browser by itself; leave --html and --follow out."
        )
    if options.port and not options.serve:
        raise BadSettings("--port is the port of --serve; give both.")
    if options.json is not None:
        if options.serve or options.follow or options.html is not None:
            raise BadSettings(
                "--json writes once; leave --html, --serve and --follow out."
            )
        output.check(options.json)


def _page(folder: Path, refresh_seconds: float | None) -> str:
    record = registry.scoring_module("cockpit.record").load(folder)
    still = (
        None if refresh_seconds is None or not record.is_running else refresh_seconds
    )
    page = registry.scoring_module("cockpit.page")
    text: str = page.render(record, refresh_seconds=still)
    return text


def _serve(folder: Path, options: argparse.Namespace) -> None:
    module: Any = registry.scoring_module("cockpit.server")
    try:
        server = module.Server(lambda: _page(folder, options.interval), options.port)
    except OSError as error:
        raise BadSettings(
            f"--port {options.port} cannot be used: {error.strerror}. Choose another one, or "
            "leave it out."
        ) from None
    output.say(server.url)
    sys.stdout.flush()
    server.serve()


def _write(folder: Path, options: argparse.Namespace) -> None:
    while True:
        refresh = options.interval if options.follow else None
        write_output(options.html, _page(folder, refresh))
        if not options.follow:
            return
        time.sleep(options.interval)


def _print(folder: Path, options: argparse.Namespace) -> None:
    records = registry.scoring_module("cockpit.record")
    terminal = registry.scoring_module("cockpit.terminal")
    if not options.follow:
        output.say(terminal.text(records.load(folder)))
        return
    watch.follow(
        lambda size: terminal.text(records.load(folder)), options.interval, sys.stdout
    )
