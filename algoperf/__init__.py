"""A competitive time-to-result benchmark for neural-network training algorithms.

Importing this package imports no framework, and none of the names below until they are used.
The submission API is `algoperf.spec`; the command line is `algoperf.cli`.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = [
    "AlgoPerfError",
    "EvaluationRow",
    "Leaderboard",
    "Outcome",
    "OutcomeRecord",
    "Results",
    "Trial",
    "TrialInfo",
    "TrialObserver",
    "__version__",
    "load",
    "run",
]


def __getattr__(name: str) -> Any:
    """Loads the public names when they are used."""
    if name not in __all__:
        raise AttributeError(f"module 'algoperf' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("algoperf.api"), name)


def __dir__() -> list[str]:
    """Also the names that are not loaded yet."""
    return sorted({*globals(), *__all__})
