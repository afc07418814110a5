"""Who made a submission and what it is: `submission.toml` beside its file, read and checked here.

    title = "NadamW"
    description = "Adam with Nesterov momentum and decoupled weight decay."
    authors = ["Ada Lovelace", "Alan Turing"]
    license = "Apache-2.0"

    [links]
    paper = "https://example.org/paper"

Every entry is optional. What the file says goes into the meta data of each trial; a file in the
folder of a submission's logs replaces it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf.errors import AlgoPerfError, BadSubmission
from algoperf.toml_files import (
    WrongEntry,
    check_keys,
    read_toml,
    shown_value,
    text_entry,
)

ABOUT_FILE = "submission.toml"
_MOST_ENTRIES = 100
_TEXTS = ("title", "description", "license")
_KEYS = (*_TEXTS, "authors", "links")


@dataclass(frozen=True)
class About:
    """What people are told about a submission; empty where nothing was said."""

    title: str = ""
    description: str = ""
    authors: tuple[str, ...] = ()
    license: str = ""
    links: Mapping[str, str] = field(
        default_factory=dict
    )  # web addresses by their words

    def to_json(self) -> dict[str, Any]:
        """As JSON object; what is empty is left out."""
        content = {
            "title": self.title,
            "description": self.description,
            "authors": list(self.authors),
            "license": self.license,
            "links": dict(self.links),
        }
        return {key: value for key, value in content.items() if value}

    @classmethod
    def from_json(cls, content: object) -> "About":
        """The inverse of `to_json`; what is no such record says nothing."""
        try:
            return _checked(content)
        except WrongEntry:
            return cls()


def read_about(folder: Path, error: type[AlgoPerfError] = BadSubmission) -> About:
    """What `submission.toml` in a folder says; empty without one.

    error: what is raised for a file that is damaged or has wrong entries.
    """
    path = folder / ABOUT_FILE
    if not os.path.lexists(path):
        return About()
    content = read_toml(path, error)
    try:
        return _checked(content)
    except WrongEntry as wrong:
        raise error(f"{path}: {wrong}.") from None


def _checked(content: object) -> About:
    if not isinstance(content, Mapping):
        raise WrongEntry('it must hold entries like title = "…"')
    check_keys(content, _KEYS)
    texts = {key: text_entry(key, content.get(key, "")) for key in _TEXTS}
    return About(
        authors=_authors(content.get("authors", [])),
        links=_links(content.get("links", {})),
        **texts,
    )


def _authors(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise WrongEntry(
            f"'authors' must be a list of names like [\"Ada Lovelace\"], not {shown_value(value)}"
        )
    _check_number("authors", len(value))
    return tuple(text_entry("authors", name) for name in value)


def _links(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise WrongEntry(
            "'links' must be a table of web addresses, such as paper = \"https://…\", not "
            f"{shown_value(value)}"
        )
    _check_number("links", len(value))
    links = {
        text_entry("links", name): text_entry(f"links.{name}", to)
        for name, to in value.items()
    }
    for name, address in links.items():
        if not address.startswith(("https://", "http://")):
            raise WrongEntry(
                f"'links.{name}' must begin with https:// or http://, not {shown_value(address)}"
            )
    return links


def _check_number(key: str, count: int) -> None:
    if count > _MOST_ENTRIES:
        raise WrongEntry(
            f"{key!r} has {count:,} entries; at most {_MOST_ENTRIES} are allowed"
        )
