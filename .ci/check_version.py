"""Checks that the package's version and the changelog agree; part of `make lint`.

While changes wait under `[Unreleased]`, the version is the one that they will be released as:
above every released one. Without such changes it is the newest released one.
"""

import re
import sys
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]


def problem(package: str, changelog: str) -> str | None:
    """What disagrees, in a sentence; the texts of `algoperf/__init__.py` and the changelog."""
    found = re.search(r'^__version__ = "(.+)"$', package, re.MULTILINE)
    if found is None:
        return "algoperf/__init__.py sets no __version__."
    version = Version(found[1])
    sections = re.split(r"^## \[(.+?)\].*$", changelog, flags=re.MULTILINE)[1:]
    changes = dict(zip(sections[::2], sections[1::2], strict=True))
    waiting = "- " in changes.pop("Unreleased", "")
    released = [Version(name) for name in changes]
    if released != sorted(released, reverse=True):
        return "CHANGELOG.md must list the newest version first."
    newest = max(released, default=None)
    if waiting and newest is not None and version <= newest:
        return (
            f"CHANGELOG.md has unreleased changes after {newest}, and __version__ is "
            f"{version}. Raise __version__, or move the changes to a section of their version."
        )
    if not waiting and version != newest:
        return (
            f"__version__ is {version}, and the newest version in CHANGELOG.md is {newest}. "
            f"Give the changes a section '## [{version}] - DATE'."
        )
    return None


def main() -> int:
    """Prints the problem, if there is one; status 1 then."""
    package = (ROOT / "algoperf" / "__init__.py").read_text()
    found = problem(package, (ROOT / "CHANGELOG.md").read_text())
    if found:
        print(found, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
