"""`algoperf report`: writes a leaderboard and everything around it into one file."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from algoperf import logs, registry
from algoperf.commands import scoring_options

_STDOUT = Path("-")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    formats = registry.scoring_module("report.formats")
    scoring_options.add_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="default: report with the format's ending; -: standard output",
    )
    parser.add_argument(
        "--format",
        choices=list(formats.FORMATS),
        help="default: as the output's name ends, else html",
    )


def execute(options: argparse.Namespace) -> int:
    """Writes the report; says where it is."""
    formats = registry.scoring_module("report.formats")
    name, output = _choice(formats, options)
    board = scoring_options.leaderboard(options)
    document = registry.scoring_module("report.content").make_document(
        board, command=command(options, name, output), targets_file=options.targets
    )
    # Names of folders may hold bytes that are no UTF-8.
    data = formats.FORMATS[name].render(document).encode(errors="backslashreplace")
    if output == _STDOUT:
        print(data.decode(), end="")
        return 0
    logs.write_atomically(output, data)
    print(f"Report: {output} ({len(data) / 1e6:.2f} MB)")
    for warning in document.warnings:
        print(f"warning: {warning}")
    return 0


def _choice(formats: Any, options: argparse.Namespace) -> tuple[str, Path]:
    """Name of the format, and the file to write."""
    output: Path | None = options.output
    given: str | None = options.format
    if output is None:
        name = given or formats.DEFAULT_FORMAT
        return name, Path(f"report{formats.FORMATS[name].suffix}")
    return given or formats.format_of(output.suffix), output


def command(options: argparse.Namespace, format_name: str, output: Path) -> str:
    """The command line that these options stand for, with every choice spelt out."""
    held_out = None if options.held_out is None else ",".join(options.held_out)
    words = ["algoperf", "report", str(options.directory), "--rules", options.rules]
    for flag, value in (
        ("--tuning-ruleset", options.tuning),
        ("--targets", options.targets),
        ("--held-out", held_out),
        ("--studies", options.num_studies),
        ("--reference", options.reference),
    ):
        words += [flag, str(value)] if value is not None else []
    words += ["--compat"] if options.compat else []
    words += ["--strict"] if options.strict else []
    return shlex.join([*words, "--format", format_name, "--output", str(output)])
