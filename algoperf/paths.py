"""Paths as people give them, in arguments and environment variables."""

import os
import re
from pathlib import Path

from algoperf.errors import BadSettings

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})")
_SHOWN_CHARACTERS = 200


def expanded(text: str) -> Path:
    """The path in `text`, with `~`, `~user`, `$NAME` and `${NAME}` expanded.

    A shell expands them in words of their own only: not in `--data_dir=~/data`, nor in quotes,
    nor in a file of flags. Raises `BadSettings` where nothing can be put in their place, since
    a folder that is called `~` or `$HOME` is never meant.
    """
    if not text:
        raise BadSettings("The path is empty. Give the name of a file or folder.")
    if "\0" in text:
        raise BadSettings(f"{shown(text)} is not a path: it contains a NUL character.")
    with_home = os.path.expanduser(text)
    if with_home.startswith("~"):
        raise BadSettings(
            f"{shown(text)}: the home directory of {with_home.partition('/')[0]!r} is "
            "unknown. Write the path out; a name that begins with '~' is written './~'."
        )
    path = os.path.expandvars(with_home)
    unset = [
        match[0]
        for match in _VARIABLE.finditer(with_home)
        if (match[1] or match[2]) not in os.environ
    ]
    # A name may really contain a dollar sign.
    if unset and not os.path.lexists(path):
        raise BadSettings(
            f"{shown(text)}: the environment variable {unset[0]} is not set. Set it, or "
            "write the path out."
        )
    if not path:
        raise BadSettings(f"{shown(text)}: the path is empty when it is expanded.")
    return Path(path)


def absolute(path: Path) -> Path:
    """`path` from the root, so that it keeps its meaning if the current directory changes.

    Links and `..` stay as they are: the names that were given are the names in messages.
    """
    try:
        return path.absolute()
    except FileNotFoundError:
        raise BadSettings(
            f"{shown(path)} is relative to the current directory, which no longer exists. "
            "Change to another directory, or give an absolute path."
        ) from None


def shown(path: str | Path) -> str:
    """`path` for a message: quoted where it is odd, and cut where it is very long."""
    text = str(path)
    if len(text) > _SHOWN_CHARACTERS:
        return f"{text[:_SHOWN_CHARACTERS]!r}… ({len(text):,} characters)"
    return text if text.isprintable() and text else repr(text)
