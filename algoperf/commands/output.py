"""Where a command's results go: standard output or files, with one sentence if they cannot."""

import os
from pathlib import Path

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
