"""Packages that only some commands need: found out before any work is done."""

import importlib
from collections.abc import Sequence
from typing import Any

from algoperf.errors import MissingDependency


def load(name: str, user: str, *, extra: str = "data") -> Any:
    """The package `name`, imported; `MissingDependency` with the remedy if it is missing.

    user: who needs it, such as "Preparing fastmri". extra: the extra of algoperf that
    brings it.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        raise _missing(f"the package {name!r}", str(error), user, extra) from None


def check(names: Sequence[str], user: str, *, extra: str = "data") -> None:
    """`MissingDependency` that names all of the packages that cannot be imported."""
    reasons = {}
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            reasons[name] = str(error)
    if reasons:
        listed = " and ".join(map(repr, reasons))
        what = f"the package{'s' if len(reasons) > 1 else ''} {listed}"
        raise _missing(what, "; ".join(reasons.values()), user, extra)


def _missing(what: str, reason: str, user: str, extra: str) -> MissingDependency:
    return MissingDependency(
        f"{user} needs {what}, which cannot be imported ({reason}) or is not installed. "
        f"It comes with the extra {extra!r}. Install it: pip install "
        f"'algoperf[{extra}]'."
    )
