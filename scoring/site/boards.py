"""Which leaderboards a site has: folders of logs, and the `board.toml` in each.

    title = "Spring 2026"
    description = "External tuning, eight base workloads."
    rules = "v0.6"
    held_out = ["ogbg_model_size"]

Every entry is optional: `title`, `description`, `rules`, `tuning` ("external" or "self"),
`held_out`, `studies`, `reference`, `targets` (a file, relative to `board.toml`).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf import logs
from algoperf.errors import BadSettings
from algoperf.rulesets import RULESETS, TUNING_RULESETS
from algoperf.toml_files import (
    WrongEntry,
    check_keys,
    read_toml,
    shown_value,
    text_entry,
)

BOARD_FILE = "board.toml"
_KEYS = (
    "title",
    "description",
    "rules",
    "tuning",
    "held_out",
    "studies",
    "reference",
    "targets",
)
_CHOICES = {"rules": tuple(RULESETS), "tuning": tuple(TUNING_RULESETS)}


@dataclass(frozen=True)
class BoardFolder:
    """The logs of one leaderboard and what its file says."""

    folder: Path
    title: str
    description: str = ""
    # Options of scoring that the file sets, by the names of `score`'s arguments.
    options: Mapping[str, Any] = field(default_factory=dict)


def find_boards(directory: Path) -> tuple[list[BoardFolder], list[str]]:
    """The boards below a folder, and notes on folders that are none.

    Folders in it that have a `board.toml`; where none has one, the folder itself. BadSettings
    names what is wrong with a file.
    """
    logs.check_folder(directory)
    inside = sorted(
        path
        for path in directory.iterdir()
        if path.is_dir() and not path.name.startswith(".")
    )
    found = [path for path in inside if os.path.lexists(path / BOARD_FILE)]
    if not found or os.path.lexists(directory / BOARD_FILE):
        return [read_board(directory)], []
    notes = [
        f"{path} has no {BOARD_FILE}, so it is no board of the site"
        for path in inside
        if path not in found
    ]
    return [read_board(path) for path in found], notes


def read_board(folder: Path) -> BoardFolder:
    """What the folder's `board.toml` says; without one, the folder's name is the title."""
    path = folder / BOARD_FILE
    name = folder.resolve().name or "Leaderboard"
    if not os.path.lexists(path):
        return BoardFolder(folder, name)
    content = read_toml(path, BadSettings)
    try:
        return _checked(folder, name, content)
    except WrongEntry as wrong:
        raise BadSettings(f"{path}: {wrong}.") from None


def _checked(folder: Path, name: str, content: Mapping[str, Any]) -> BoardFolder:
    check_keys(content, _KEYS)
    options: dict[str, Any] = {}
    for key, known in _CHOICES.items():
        if key in content:
            options[key] = _choice(key, content[key], known)
    if "held_out" in content:
        options["held_out"] = _names(content["held_out"])
    if "studies" in content:
        options["num_studies"] = _count(content["studies"])
    if "reference" in content:
        options["reference"] = text_entry("reference", content["reference"])
    if "targets" in content:
        options["targets"] = folder / text_entry("targets", content["targets"])
    title = text_entry("title", content.get("title", "")) or name
    description = text_entry("description", content.get("description", ""))
    return BoardFolder(folder, title, description, options)


def _choice(key: str, value: object, known: Sequence[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise WrongEntry(
            f"{key!r} must be one of {', '.join(known)}, not {shown_value(value)}"
        )
    return value


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise WrongEntry(
            "'held_out' must be a list of workloads, [] for none, not "
            f"{shown_value(value)}"
        )
    return [str(name) for name in value]


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise WrongEntry(
            f"'studies' must be a whole number from 1, not {shown_value(value)}"
        )
    return value
