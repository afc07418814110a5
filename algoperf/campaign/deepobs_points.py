"""The points that DeepOBS's protocol tries: learning rates on top of other hyperparameters."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf import paths
from algoperf.errors import BadSettings
from algoperf.runner import door

LEARNING_RATE = "learning_rate"
_LOWEST, _HIGHEST = -5.0, 2.0  # decimal logarithms of the published grid
_MOST = 10_000

Point = dict[str, Any]


def points(grid: str, base: Mapping[str, Any]) -> list[Point]:
    """Points of a grid, each with the hyperparameters of `base` that it does not name.

    grid: how many learning rates, evenly spaced on a logarithmic scale from 1e-5 to 1e2, or
    the path of a JSON list of learning rates or of points.
    """
    is_number = grid.isascii() and grid.isdigit()
    if not is_number and not paths.expanded(grid).exists():
        raise BadSettings(
            f"--grid is {paths.shown(grid)}; it must be a whole number, or a JSON file, and "
            "there is no such file."
        )
    if not is_number:
        return _merged(paths.expanded(grid), base)
    number = int(grid) if len(grid) < 6 else _MOST + 1
    if not 2 <= number <= _MOST:
        raise BadSettings(
            f"--grid is {grid}; it must be from 2 to {_MOST:,}, or a JSON file."
        )
    step = (_HIGHEST - _LOWEST) / (number - 1)
    rates = [10.0 ** (_LOWEST + i * step) for i in range(number)]
    return [{**base, LEARNING_RATE: rate} for rate in rates]


def read_base(path: Path) -> dict[str, Point]:
    """Hyperparameters by the names of optimizers."""
    content = _json(path, "base points")
    if not isinstance(content, dict) or not all(
        isinstance(point, dict) for point in content.values()
    ):
        raise BadSettings(
            f"{paths.shown(path)} must be a JSON object that has an object of "
            'hyperparameters for each optimizer, like {"momentum": {"beta": 0.9}}.'
        )
    return content


def _read(path: Path) -> list[Point]:
    content = _json(path, "grid")
    if not isinstance(content, list) or not content:
        raise BadSettings(
            f"{paths.shown(path)} must be a JSON list of learning rates, or of objects with "
            f"a {LEARNING_RATE}."
        )
    found = [
        item if isinstance(item, dict) else {LEARNING_RATE: item} for item in content
    ]
    for number, point in enumerate(found):
        rate = point.get(LEARNING_RATE)
        if not _is_rate(rate):
            raise BadSettings(
                f"{paths.shown(path)}: item {number} has the {LEARNING_RATE} {rate!r}; it "
                "must be a finite number of at least 0."
            )
        point[LEARNING_RATE] = float(point[LEARNING_RATE])
    return found


def _merged(path: Path, base: Mapping[str, Any]) -> list[Point]:
    """The points of a file, completed from `base`; each must differ from the others."""
    found = [dict(base) | point for point in _read(path)]
    for number, point in enumerate(found):
        if point in found[:number]:
            raise BadSettings(
                f"{paths.shown(path)}: item {number} stands there twice; leave one out."
            )
    return found


def _is_rate(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value) and value >= 0
    except OverflowError:  # an integer beyond the largest float
        return False


def _json(path: Path, what: str) -> Any:
    door.check_file(path, what)
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise BadSettings(
            f"{paths.shown(path)} is not readable JSON ({error})."
        ) from None
