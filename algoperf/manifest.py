"""The `manifest.json` of a folder of prepared data, and the command that makes the folder."""

import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import input_files, registry
from algoperf.errors import BadData

MANIFEST = "manifest.json"
OPTIONS = "options"  # the fact that names further options of `algoperf prepare`
_MANIFEST_VERSION = 1


def prepare_command(
    folder: Path, subset: int | None = None, options: Mapping[str, str] | None = None
) -> str:
    """The complete command that prepares `folder`, in backquotes.

    options: further ones with their values, such as {"--days": "0,23"}.
    """
    words = ["algoperf", "prepare", folder.name]
    if "--from" not in (options or {}) and not _can_be_fetched(folder.name):
        words += ["--raw", "DIR"]
    if subset is not None:
        words += ["--subset", str(subset)]
    for option, value in (options or {}).items():
        words += [option, str(value)]
    words += ["--data-dir", str(folder.parent)]
    return f"`{shlex.join(words)}`"


def verify_command(folder: Path) -> str:
    """The complete command that compares the checksums of `folder`, in backquotes."""
    words = ["algoperf", "prepare", folder.name, "--data-dir", str(folder.parent)]
    return f"`{shlex.join([*words, '--verify'])}`"


def listed(values: Mapping[str, Any]) -> str:
    """Names and values, for messages."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _can_be_fetched(prepared_name: str) -> bool:
    """Whether the raw files are shipped, or downloaded by the program."""
    if prepared_name.endswith("_mini"):
        return True
    dataset = next(
        (
            definition.dataset
            for definition in registry.definitions().values()
            if definition.prepared_name == prepared_name
        ),
        prepared_name,
    )
    if dataset not in registry.folders("datasets"):
        return True
    return hasattr(registry.dataset_module(dataset, "prepare"), "download")


@dataclass(frozen=True)
class PartFile:
    """What the manifest says of one file."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What stands in `manifest.json`."""

    dataset: str
    format_version: int
    subset: int | None  # at most this many examples per split; None: all
    source: Mapping[str, Any]  # what the parts were made of
    counts: Mapping[str, int]  # examples by split
    facts: Mapping[str, Any]  # whatever the data set's reader needs to know
    files: Mapping[str, PartFile]

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        content = {"manifest_version": _MANIFEST_VERSION, **dataclasses.asdict(self)}
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """The manifest at `path`; `BadData` if it is damaged or of another version."""
        remedy = f"Delete the folder and run {prepare_command(path.parent)}."
        with input_files.opened(path, remedy) as file:
            text = file.read()
        try:
            content = json.loads(text)
            version = content.pop("manifest_version")
            if version == _MANIFEST_VERSION:
                parts = {k: PartFile(**v) for k, v in content.pop("files").items()}
                manifest = cls(files=parts, **content)
                manifest._check_types()
                return manifest
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            raise BadData(f"{path} is damaged ({error}). {remedy}") from error
        raise BadData(
            f"{path} has manifest version {version}; this version of algoperf reads "
            f"{_MANIFEST_VERSION}. {remedy}"
        )

    def _check_types(self) -> None:
        """Raises `TypeError` where a value is none that `to_json` writes."""
        counts, facts, source = self.counts, self.facts, self.source
        is_good = (
            isinstance(self.dataset, str)
            and all(isinstance(value, dict) for value in (counts, facts, source))
            and all(map(_is_count, (self.format_version, *counts.values())))
            and (self.subset is None or _is_count(self.subset))
            and all(_is_count(part.size_bytes) for part in self.files.values())
            and all(isinstance(part.sha256, str) for part in self.files.values())
        )
        if not is_good:
            raise TypeError("a value has the wrong type")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
