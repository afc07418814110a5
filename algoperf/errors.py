"""Errors that are shown to people as one clear message, without a traceback.

Anything else that escapes is a fault of the harness, and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class AlgoPerfError(Exception):
    """A mistake in what was given: its text says what was given, what is right, what to do."""


class UnknownName(AlgoPerfError):
    """A workload, data set, algorithm or option that does not exist."""


class MissingDependency(AlgoPerfError):
    """A package that this command needs is not installed."""


class BadSubmission(AlgoPerfError):
    """A submission that cannot be loaded or breaks the submission API."""


class BadSearchSpace(AlgoPerfError):
    """A tuning search space that is not well formed."""


class BadData(AlgoPerfError):
    """Raw or prepared data that is missing, damaged or not what was expected."""


class BadLogs(AlgoPerfError):
    """A folder of logs that cannot be read or must not be written to."""


class BadCheckpoint(AlgoPerfError):
    """A checkpoint that is damaged or belongs to another run."""


class BadSettings(AlgoPerfError):
    """Settings of a run that contradict each other or the hardware."""


def near(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` when one of `known` is spelt almost like `name`, else nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""
