"""Names of files that any file system and any web server can hold."""

import re
from collections.abc import Iterable

_MOST_CHARACTERS = 60
# `index` is a page of ours; Windows keeps the others for devices.
_RESERVED = {"index", "con", "prn", "aux", "nul"}
_RESERVED |= {f"{device}{i}" for device in ("com", "lpt") for i in range(1, 10)}


def file_names(names: Iterable[str]) -> list[str]:
    """For each name one of lower-case letters, digits, `-` and `_`; no two are equal."""
    taken = set(_RESERVED)
    found = []
    for name in names:
        base = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:_MOST_CHARACTERS]
        base = base.strip("-") or "unnamed"
        made, number = base, 1
        while made in taken:
            number += 1
            made = f"{base}-{number}"
        taken.add(made)
        found.append(made)
    return found
