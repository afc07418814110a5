"""`algoperf report`: writes a leaderboard and everything around it into one file."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from algoperf import registry
from algoperf.commands import output, scoring_options

EXAMPLES = """\
examples:
  algoperf report experiments -o report.html
  algoperf report experiments --format md -o -"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    formats = registry.scoring_module("report.formats")
    scoring_options.add_arguments(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="File to write, or - for standard output (default: report.EXT, where EXT is the "
        "format's extension).",
    )
    parser.add_argument(
        "--title",
        type=str,
        metavar="TEXT",
        help="Title of the report, such as the board's name.",
    )
    parser.add_argument(
        "--format",
        choices=list(formats.FORMATS),
        help="Report format (default: by the extension of the output, else html).",
    )


def execute(options: argparse.Namespace) -> int:
    """Writes the report; says where it is."""
    formats = registry.scoring_module("report.formats")
    name, path = _choice(formats, options)
    output.check(path)
    board = scoring_options.leaderboard(options)
    document = registry.scoring_module("report.content").make_document(
        board,
        title=options.title or "",
        command=command(options, name, path),
        targets_file=options.targets,
    )
    text = formats.FORMATS[name].render(document)
    output.write(path, text, "Report", more=f" ({len(text) / 1e6:.2f} MB)")
    if path != output.STDOUT:
        for warning in document.warnings:
            output.say(f"warning: {warning}")
    return 0


def _choice(formats: Any, options: argparse.Namespace) -> tuple[str, Path]:
    """Name of the format, and the file to write."""
    path: Path | None = options.output
    given: str | None = options.format
    if path is None:
        name = given or formats.DEFAULT_FORMAT
        return name, Path(f"report{formats.FORMATS[name].suffix}")
    if given or path == output.STDOUT:
        return given or formats.DEFAULT_FORMAT, path
    return formats.format_of(path.suffix), path


def command(options: argparse.Namespace, format_name: str, path: Path) -> str:
    """The command line that these options stand for, with every choice spelt out."""
    held_out = options.held_out and ",".join(options.held_out)
    held_out = "none" if options.held_out == [] else held_out
    words = ["algoperf", "report", *map(str, options.directories)]
    words += ["--rules", options.rules]
    for flag, value in (
        ("--tuning-ruleset", options.tuning),
        ("--targets", options.targets),
        ("--held-out", held_out),
        ("--studies", options.num_studies),
        ("--reference", options.reference),
        ("--title", options.title),
    ):
        words += [flag, str(value)] if value is not None else []
    words += ["--compat"] if options.compat else []
    words += ["--strict"] if options.strict else []
    return shlex.join([*words, "--format", format_name, "--output", str(path)])
