"""Points that self-tuning submissions use instead of hyperparameters."""

import collections
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from algoperf import spec


def as_point(values: Mapping[str, float]) -> Any:
    """The values as the harness would hand over a point of a search space."""
    return collections.namedtuple("Hyperparameters", values)(**values)


def listed(file: str, number: int) -> Callable[[spec.Hyperparameters], Any]:
    """The `point` of a factory: that of `optlist.json` beside `file`, whatever is given.

    number: of the list's points, from 0.
    """
    optlist = Path(file).with_name("optlist.json")
    point = as_point(json.loads(optlist.read_text())[number])
    return lambda given: point


def given_or(values: Mapping[str, float]) -> Callable[[spec.Hyperparameters], Any]:
    """The `point` of a factory: the one given, or `values` under self-tuning."""
    point = as_point(values)
    return lambda given: point if given is None else given
