"""Hyperparameter points of trials: which of their entries differ, and how they are written."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from algoperf.logs import Trial

from ..tables import Cell

_LOGARITHMIC = (
    20.0  # ratio of the largest to the smallest value from which an axis is so
)


def varied(trials: Iterable[Trial]) -> list[str]:
    """The names of hyperparameters that have several values, sorted."""
    return [name for name, values in _by_name(trials).items() if len(values) > 1]


def fixed(trials: Iterable[Trial]) -> dict[str, str]:
    """Hyperparameters that have one value in all trials, as texts."""
    found = _by_name(trials)
    return {name: next(iter(v)) for name, v in found.items() if len(v) == 1}


def _by_name(trials: Iterable[Trial]) -> dict[str, dict[str, None]]:
    """The texts of all values by name; a trial that lacks a name counts as a value."""
    points = [trial.hyperparameters or {} for trial in trials]
    names = sorted({name for point in points for name in point})
    return {
        name: dict.fromkeys(
            written(point[name]) if name in point else "" for point in points
        )
        for name in names
    }


def is_number(value: object) -> bool:
    """Whether it is a finite number; booleans are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def written(value: Any) -> str:
    """A value as people read it."""
    if is_number(value):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def cell(point: Mapping[str, Any], name: str) -> Cell:
    """The value of a hyperparameter; blank where the point has none."""
    if name not in point:
        return Cell("")
    value = point[name]
    if is_number(value):
        return Cell(f"{value:.4g}", float(value))
    return Cell(written(value), written(value))


@dataclass(frozen=True)
class PointAxis:
    """How the values of one hyperparameter lie on an axis."""

    is_log: bool
    categories: Sequence[str]  # empty: the values are numbers

    @classmethod
    def of(cls, values: Sequence[Any]) -> "PointAxis":
        """The axis that suits values: logarithmic, linear, or with a place for each text."""
        if not all(map(is_number, values)):
            return cls(False, sorted({written(value) for value in values}))
        low, high = min(values), max(values)
        return cls(low > 0 and high >= _LOGARITHMIC * low, ())

    def at(self, value: Any) -> float:
        """Where a value lies."""
        if self.categories:
            return float(self.categories.index(written(value)))
        return math.log10(value) if self.is_log else float(value)
