"""Hyperparameter points: search spaces, point lists, and the quasirandom search.

A point is a pure function of (campaign seed, study, trial). Each study simulates an independent
practitioner, so each has its own scrambling of the Halton sequence. (In the published harness
all studies got the same points.)
"""

import json
import keyword
import math
from collections import Counter, namedtuple
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.errors import BadSearchSpace, near
from algoperf.runner.randomness import seed_for

Point = Mapping[str, Any]
_RANGE_KEYS = {"min", "max", "scaling"}
_SCALINGS = ("linear", "log")


class SearchSpace:
    """Ranges or lists of values by name.

    `{"name": {"min": a, "max": b, "scaling": "log" or "linear"} or {"feasible_points": []}}`
    """

    def __init__(self, dimensions: Mapping[str, Any], source: str) -> None:
        if not dimensions:
            raise BadSearchSpace(
                f"{source} names no hyperparameter; it must name at least one."
            )
        for name, dimension in dimensions.items():
            _check_dimension(name, dimension, source)
        self.dimensions = dict(dimensions)

    def points(self, seed: int, study: int, num_trials: int) -> list[Point]:
        """The first `num_trials` points of a study; more trials only append points."""
        columns = [
            [
                _scale(dimension, value)
                for value in _halton(
                    base, seed_for("halton", seed, study, base), num_trials
                )
            ]
            for base, dimension in zip(
                _primes(), self.dimensions.values(), strict=False
            )
        ]
        return [
            dict(zip(self.dimensions, row, strict=True))
            for row in zip(*columns, strict=True)
        ]

    def random_points(self, seed: int, number: int) -> list[Point]:
        """Points that are drawn independently: random search; more only append points."""
        random = np.random.default_rng(seed)
        return [
            {name: _scale(d, random.random()) for name, d in self.dimensions.items()}
            for _ in range(number)
        ]


class PointList:
    """An explicit list of points (an OptList), sampled without replacement."""

    def __init__(self, points: Sequence[Point], source: str) -> None:
        if not points:
            raise BadSearchSpace(
                f"{source} is an empty list; it must hold at least one point."
            )
        for number, point in enumerate(points):
            where = f"{source}: point {number}"
            if not isinstance(point, dict) or not point:
                raise BadSearchSpace(
                    f"{where} must be an object of at least one hyperparameter; it is "
                    f"{point!r}."
                )
            if set(point) != set(points[0]):
                raise BadSearchSpace(
                    f"{source}: point {number} must be an object with the same names as "
                    f"point 0: {', '.join(points[0])}."
                )
            for name, value in point.items():
                _check_name(name, source)
                _check_value(value, f"{where}, {name!r}")
        self._points = list(points)

    def points(self, seed: int, study: int, num_trials: int) -> list[Point]:
        """Points of a study; at most as many as the list holds.

        Studies take consecutive parts of one shuffled list, and start over at its end: they
        share points only when the list is too short for all of them.
        """
        order = np.random.default_rng(seed_for("list", seed)).permutation(
            len(self._points)
        )
        num_points = min(num_trials, len(order))
        first = (study - 1) * num_points
        return [
            self._points[order[(first + i) % len(order)]] for i in range(num_points)
        ]


def load_search_space(path: Path) -> SearchSpace | PointList:
    """Reads and checks a search-space file; errors name the file, the entry and the remedy."""
    try:
        content = json.loads(path.read_text(), object_pairs_hook=_object)
    except OSError as error:
        raise BadSearchSpace(
            f"Search space {path} cannot be read: {error.strerror}."
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadSearchSpace(
            f"Search space {path} is not valid JSON: {error}."
        ) from None
    if isinstance(content, list):
        return PointList(content, str(path))
    if isinstance(content, dict):
        return SearchSpace(content, str(path))
    raise BadSearchSpace(
        f"Search space {path} must be a JSON object of ranges or a JSON list of points, "
        f"not {type(content).__name__}."
    )


def as_hyperparameters(point: Point) -> Any:
    """The namedtuple that a submission gets."""
    return namedtuple("Hyperparameters", point)(**point)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python's own reader silently takes the last of two equal names."""
    counts = Counter(name for name, _ in pairs)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} stands twice in one object")
    return dict(pairs)


def _check_name(name: str, source: str) -> None:
    is_usable = name.isidentifier() and not keyword.iskeyword(name)
    if not is_usable or name.startswith("_"):
        raise BadSearchSpace(
            f"{source}: {name!r} cannot be the name of a hyperparameter; use letters, digits "
            "and underscores, beginning with a letter, and no word of Python's own "
            "(submissions read hyperparameters.NAME)."
        )


def _check_value(value: object, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise BadSearchSpace(f"{where}: {value!r} must be a finite number.")


def _check_dimension(name: str, dimension: object, source: str) -> None:
    _check_name(name, source)
    where = f"{source}: {name!r}"
    if not isinstance(dimension, dict):
        raise BadSearchSpace(
            f"{where} must be an object with 'min', 'max' and 'scaling', or with "
            f"'feasible_points'; it is {dimension!r}."
        )
    known = _RANGE_KEYS | {"feasible_points"}
    for key in dimension:
        if key not in known:
            raise BadSearchSpace(
                f"{where} has the unknown key {key!r}.{near(key, known)} "
                f"Use: {', '.join(sorted(known))}."
            )
    if "feasible_points" in dimension:
        points = dimension["feasible_points"]
        if len(dimension) > 1 or not isinstance(points, list) or not points:
            raise BadSearchSpace(
                f"{where}: 'feasible_points' must be a list of at least one value, and stand "
                "alone, without 'min', 'max' or 'scaling'."
            )
        for value in points:
            _check_value(value, where)
        return
    _check_range(dimension, where)


def _check_range(dimension: Mapping[str, Any], where: str) -> None:
    missing = _RANGE_KEYS - set(dimension)
    if missing:
        raise BadSearchSpace(f"{where} lacks {', '.join(sorted(missing))}.")
    low, high, scaling = dimension["min"], dimension["max"], dimension["scaling"]
    for bound in (low, high):
        if not _is_finite_number(bound):
            raise BadSearchSpace(f"{where}: {bound!r} must be a finite number.")
    if scaling not in _SCALINGS:
        raise BadSearchSpace(
            f"{where}: scaling {scaling!r} is unknown.{near(str(scaling), _SCALINGS)} "
            f"Use one of: {', '.join(_SCALINGS)}."
        )
    if low > high:
        raise BadSearchSpace(f"{where}: min {low} is above max {high}; swap them.")
    if scaling == "log" and low <= 0:
        raise BadSearchSpace(
            f"{where}: log scaling needs min above 0, not {low}; use a small positive number "
            "or linear scaling."
        )


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def _scale(dimension: Mapping[str, Any], value: float) -> object:
    """Maps `value` in [0, 1) into a dimension."""
    if "feasible_points" in dimension:
        points = dimension["feasible_points"]
        return points[int(value * len(points))]
    low, high = dimension["min"], dimension["max"]
    if dimension["scaling"] == "log":
        scaled = math.exp((1 - value) * math.log(low) + value * math.log(high))
    else:
        scaled = low + value * (high - low)
    return min(max(scaled, low), high)  # rounding must not leave the range


def _halton(base: int, seed: int, count: int) -> list[float]:
    """The first points of the scrambled radical-inverse sequence in `base`, in [0, 1)."""
    rng = np.random.default_rng(seed)
    digits = [0, *(1 + rng.permutation(base - 1)).tolist()]
    shift = rng.random()
    points = []
    for index in range(count):
        value, weight, rest = shift, 1.0 / base, index
        while rest:
            rest, digit = divmod(rest, base)
            value += digits[digit] * weight
            weight /= base
        points.append(value % 1.0)
    return points


def _primes() -> Iterator[int]:
    found: list[int] = []
    candidate = 2
    while True:
        if all(candidate % prime for prime in found):
            found.append(candidate)
            yield candidate
        candidate += 1
