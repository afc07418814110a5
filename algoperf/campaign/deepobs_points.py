"""The points that DeepOBS's protocol tries: learning rates on top of other hyperparameters."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf import paths
from algoperf.errors import BadSettings
from algoperf.runner import door
from algoperf.runner.randomness import seed_for
from algoperf.runner.tuning import SearchSpace

LEARNING_RATE = "learning_rate"
_LOWEST, _HIGHEST = -5.0, 2.0  # decimal logarithms of the published grid
_MOST = 10_000

Point = dict[str, Any]


def points(
    grid: str, base: Mapping[str, Any], *, optimizer: str = "", seed: int = 0
) -> list[Point]:
    """Points of a grid, each with the hyperparameters of `base` that it does not name.

    grid: how many learning rates, evenly spaced on a logarithmic scale from 1e-5 to 1e2;
    `random:N` for N points that are drawn, as `seed` says, from those learning rates and
    from the ranges of `base`; or the path of a JSON list of learning rates or of points, or
    of an object with such a list for each optimizer.
    """
    head, sign, number = grid.partition(":")
    if sign and head == "random":
        return _drawn(_count(number, grid), base, seed_for("points", seed, optimizer))
    _refuse_ranges(base, grid)
    if grid.isascii() and grid.isdigit():
        total = _count(grid, grid)
        step = (_HIGHEST - _LOWEST) / (total - 1)
        rates = [10.0 ** (_LOWEST + i * step) for i in range(total)]
        return [{**base, LEARNING_RATE: rate} for rate in rates]
    if not paths.expanded(grid).exists():
        raise BadSettings(
            f"--grid is {paths.shown(grid)}; it must be a whole number, random:N, or a JSON "
            "file, and there is no such file."
        )
    return _merged(paths.expanded(grid), base, optimizer)


def _count(text: str, grid: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) < 6
    if not is_number or not 2 <= int(text) <= _MOST:
        raise BadSettings(
            f"--grid is {grid}; the number of points must be from 2 to {_MOST:,}, as in 36 or "
            "random:36, or the points must be in a JSON file."
        )
    return int(text)


def _drawn(number: int, base: Mapping[str, Any], seed: int) -> list[Point]:
    """Random search: what `base` has a range of is drawn, the rest is the same everywhere."""
    whole = {"min": 10.0**_LOWEST, "max": 10.0**_HIGHEST, "scaling": "log"}
    dimensions = {LEARNING_RATE: whole}
    dimensions |= {name: value for name, value in base.items() if _is_range(value)}
    found = SearchSpace(dimensions, "--base").random_points(seed, number)
    return [{**base, **point} for point in found]


def _is_range(value: object) -> bool:
    return isinstance(value, dict)


def _refuse_ranges(base: Mapping[str, Any], grid: str) -> None:
    ranges = [name for name, value in base.items() if _is_range(value)]
    if ranges:
        raise BadSettings(
            f"--base has a range for {', '.join(ranges)}, but --grid {paths.shown(grid)} draws "
            "nothing. Choose --grid random:N, or give a value instead of the range."
        )


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


def _read(path: Path, optimizer: str) -> list[Point]:
    content = _json(path, "grid")
    if isinstance(content, dict):
        if optimizer not in content:
            raise BadSettings(
                f"{paths.shown(path)} has no list for {optimizer!r}, but for "
                f"{', '.join(content) or 'nobody'}. Add one, or name the optimizer as the "
                "file does: --optimizers NAME=FILE."
            )
        content = content[optimizer]
    if not isinstance(content, list) or not content:
        raise BadSettings(
            f"{paths.shown(path)} must be a JSON list of learning rates, or of objects with "
            f"a {LEARNING_RATE}; or an object with such a list for each optimizer."
        )
    found = [
        dict(item) if isinstance(item, dict) else {LEARNING_RATE: item}
        for item in content
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


def _merged(path: Path, base: Mapping[str, Any], optimizer: str) -> list[Point]:
    """The points of a file, completed from `base`; each must differ from the others."""
    found = [dict(base) | point for point in _read(path, optimizer)]
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
