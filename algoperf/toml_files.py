"""Small files of settings that people write by hand, in TOML."""

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from algoperf.errors import AlgoPerfError, BadLogs, near
from algoperf.files import read_regular


class WrongEntry(Exception):
    """What is wrong with an entry: a sentence without the file's name and the full stop."""


def read_toml(path: Path, error: type[AlgoPerfError]) -> dict[str, Any]:
    """The content of a TOML file; `error`: what says that it cannot be read."""
    try:
        return tomllib.loads(read_regular(path).decode("utf-8-sig"))
    except BadLogs as problem:
        raise error(str(problem)) from None
    except (ValueError, RecursionError) as damage:  # no TOML, or no UTF-8
        raise error(f"{path} is not readable TOML ({damage}). Correct it.") from None


def check_keys(content: Mapping[str, Any], known: Collection[str]) -> None:
    """WrongEntry for a key that is not among those that are known."""
    for key in content:
        if key not in known:
            raise WrongEntry(
                f"there is no entry {key!r}.{near(str(key), known)} There are: "
                f"{', '.join(known)}"
            )


def text_entry(key: str, value: object, most_characters: int = 2_000) -> str:
    """A text without white space around it; WrongEntry if it is none, or too long."""
    if not isinstance(value, str):
        raise WrongEntry(f"{key!r} must be a text in quotes, not {shown_value(value)}")
    if len(value) > most_characters:
        raise WrongEntry(
            f"{key!r} has {len(value):,} characters; at most {most_characters:,} are allowed"
        )
    return value.strip()


def shown_value(value: object) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
