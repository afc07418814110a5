"""`algoperf new`: a new submission, from the template."""

import argparse
import importlib.resources
import shlex
from pathlib import Path

from algoperf import exit_status, files, paths
from algoperf.commands import output
from algoperf.errors import BadSettings
from algoperf.frameworks import FRAMEWORKS, check_framework

EXAMPLES = """\
examples:
  algoperf new submissions/mine
  algoperf new submissions/mine --framework pytorch"""

_TEMPLATE = "submission_template"
# The template's files that are written for one framework.
_SUBMISSIONS = {"jax": "submission.py", "pytorch": "submission_pytorch.py"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="Directory to make. Its name will be the submission's name on the leaderboard.",
    )
    parser.add_argument(
        "--framework",
        metavar="NAME",
        help=f"Copy only the file for one framework: {' or '.join(FRAMEWORKS)} "
        "(default: both).",
    )


def execute(options: argparse.Namespace) -> int:
    """Copies the template; says what comes next."""
    folder = paths.absolute(options.directory)
    if options.framework is not None:
        check_framework(options.framework)
    _check(folder)
    left_out = {
        name
        for framework, name in _SUBMISSIONS.items()
        if options.framework not in (None, framework)
    }
    template = importlib.resources.files("algoperf") / _TEMPLATE
    copied = sorted(
        entry.name
        for entry in template.iterdir()
        if entry.is_file() and entry.name not in left_out
    )
    if not copied:
        raise BadSettings(
            "The template is missing from this installation. Install the package again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in copied:
        files.write_atomically(folder / name, (template / name).read_text())
    _say_what_comes_next(options, copied)
    return exit_status.OK


def _check(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists():
        raise BadSettings(
            f"{folder} exists already. Choose another directory, or remove this one."
        )


def _say_what_comes_next(options: argparse.Namespace, copied: list[str]) -> None:
    framework = options.framework or next(iter(_SUBMISSIONS))
    path = shlex.quote(str(options.directory / _SUBMISSIONS[framework]))
    output.say(
        f"Made {options.directory} with {', '.join(copied)}.\n"
        f"Next, edit update_params, then check and run it:\n"
        f"  algoperf check {path}\n"
        f"  algoperf prepare mnist_mini\n"
        f"  algoperf run {path} --workload mnist_mini --studies 1"
    )
