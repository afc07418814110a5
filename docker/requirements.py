"""Prints what pyproject.toml requires: `python3 requirements.py pyproject.toml jax data`.

One requirement per line: the project's dependencies, then those of the extras that are named.
Images install these before the code, so that a change of the code keeps their layer.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any


def requirements(project: dict[str, Any], extras: list[str]) -> list[str]:
    """The `[project]` table's dependencies with those of `extras`, in order, each once.

    An extra that names the project itself (`algoperf[data]`) is replaced by what it stands for.
    """
    known = project["optional-dependencies"]
    unknown = [extra for extra in extras if extra not in known]
    if unknown:
        raise SystemExit(
            f"pyproject.toml has no extra named {', '.join(unknown)}. "
            f"It has: {', '.join(known)}."
        )
    itself = re.compile(rf"{re.escape(project['name'])}\[([^]]*)\]")
    found = list(project["dependencies"])
    for extra in extras:
        for requirement in known[extra]:
            own = itself.fullmatch(requirement)
            if own:
                names = [name.strip() for name in own[1].split(",")]
                found += requirements(project, names)
            else:
                found.append(requirement)
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit("Usage: requirements.py PYPROJECT [EXTRA …]")
    table = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
    print("\n".join(requirements(table, sys.argv[2:])))
