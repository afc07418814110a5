"""Writes a site into a folder, and removes what an earlier one left there."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import algoperf
from algoperf import files
from algoperf.errors import BadSettings

SITE_FILE = "site.json"


def check_folder(folder: Path) -> None:
    """BadSettings for a folder that holds anything but a site, or for a file."""
    if folder.exists() and not folder.is_dir():
        raise BadSettings(f"{folder} is a file; give a folder for the site.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / SITE_FILE).is_file():
        raise BadSettings(
            f"{folder} is not empty and holds no site (no {SITE_FILE}). Give a new folder, or "
            "empty it."
        )
    files.check_output(folder / SITE_FILE)


def write_site(folder: Path, pages: Mapping[str, str]) -> list[str]:
    """Writes all files and a list of them; returns the paths that were removed."""
    stale = sorted(set(_listed(folder)) - set(pages))
    for name, text in pages.items():
        files.write_output(folder / name, text)
    content = {"generator": f"algoperf {algoperf.__version__}", "files": sorted(pages)}
    files.write_output(folder / SITE_FILE, json.dumps(content, indent=1) + "\n")
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return stale


def _listed(folder: Path) -> list[str]:
    """The files of the site that is there; only paths that stay within its folder."""
    try:
        names = json.loads((folder / SITE_FILE).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if not isinstance(names, list):
        return []
    return [n for n in names if isinstance(n, str) and _is_inside(PurePosixPath(n))]


def _is_inside(path: PurePosixPath) -> bool:
    return (
        not path.is_absolute() and ".." not in path.parts and path.suffix in _SUFFIXES
    )


_SUFFIXES = (".html", ".json")
