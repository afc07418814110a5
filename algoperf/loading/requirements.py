"""The `requirements.txt` beside a submission: what it asks for, and whether that is installed."""

import importlib.metadata
from pathlib import Path

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from algoperf.errors import BadSubmission, MissingDependency

FILE = "requirements.txt"
# The benchmark itself, under its name and that of API 0.5.
_OURS = {"algoperf", "algorithmic-efficiency"}


def check(folder: Path) -> None:
    """Raises `MissingDependency` for all requirements that are not met, in one message."""
    path = folder / FILE
    if not path.is_file():
        return
    missing = [line for line in _lines(path) if not _is_satisfied(line, path)]
    if missing:
        raise MissingDependency(
            f"{path} asks for {', '.join(missing)}, which is not installed in that version. "
            f"Install it: pip install -r {path}."
        )


def _lines(path: Path) -> list[str]:
    """The requirements; without comments, options and pip's hashes."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSubmission(
            f"{path} cannot be read ({error}). Save it as UTF-8 text."
        ) from None
    text = text.replace("\\\n", " ")
    lines = [line.partition(" #")[0].strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith(("#", "-"))]
    return [line.partition(" --")[0].strip() for line in found]


def _is_satisfied(line: str, path: Path) -> bool:
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        if "/" in line:
            return True  # a URL or a path: pip's to resolve, with no version to compare
        raise BadSubmission(
            f"{path}: {line!r} is not a requirement ({error})."
        ) from None
    if canonicalize_name(requirement.name) in _OURS or not _applies(requirement):
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def _applies(requirement: Requirement) -> bool:
    """Whether the requirement's marker, such as `python_version < "3.11"`, holds here."""
    try:
        return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    except (UndefinedComparison, UndefinedEnvironmentName):
        return True
