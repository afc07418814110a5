"""The points that the Crowded Valley protocol tries: defaults, published draws, refined ranges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from algoperf import registry
from algoperf.campaign import deepobs_points
from algoperf.errors import BadSettings, near

TUNING_SEED = 42  # of the published draws, and of the runs that try them
BUDGETS: Mapping[str, int] = {"oneshot": 0, "small": 25, "medium": 50, "large": 75}
NUM_REFINED = BUDGETS["large"] - BUDGETS["medium"]
CONSTANT = "constant"
SCHEDULES = (CONSTANT, "cosine", "cosine_wr", "ltr")

Point = dict[str, Any]


def family() -> Any:
    """The module with `MEMBERS` and `RANGES`: the fifteen optimizers as data."""
    return registry.module("reference_algorithms", "crowded_valley", "spaces")


def member(name: str) -> Any:
    """An optimizer by its name; UnknownName's sentence where there is none."""
    members = family().MEMBERS
    if name not in members:
        raise BadSettings(
            f"There is no optimizer {name!r}.{near(name, members)} Choose from: "
            f"{', '.join(members)}."
        )
    return members[name]


def draws(name: str, number: int, seed: int = TUNING_SEED) -> list[Point]:
    """The first points of the published list of an optimizer: what is tuned, and defaults.

    One legacy generator; the hyperparameters of a point are drawn in the order of `tuned`.
    """
    return _drawn(name, family().RANGES, number, seed)


def refined(
    name: str, best: Sequence[Mapping[str, Any]], seed: int = TUNING_SEED
) -> list[Point]:
    """Points from the ranges that the best points span; drawn by the same numbers as before."""
    ranges = dict(family().RANGES)
    for key in member(name).tuned:
        span = ranges[key]
        values = [_as_drawn(point[key], span) for point in best]
        high = max(values) + 1 if span.is_integer else max(values)
        ranges[key] = replace(span, low=min(values), high=high)
    return _drawn(name, ranges, NUM_REFINED, seed)


def _as_drawn(value: float, span: Any) -> float:
    """The inverse of `_draw`: where in its range a value lies."""
    if span.is_integer:
        return value
    return math.log10(1 - value if span.is_one_minus else value)


def _drawn(name: str, ranges: Mapping[str, Any], number: int, seed: int) -> list[Point]:
    chosen, random = member(name), np.random.RandomState(seed)
    points = []
    for _ in range(number):
        values = {key: _draw(ranges[key], random) for key in chosen.tuned}
        points.append({**chosen.defaults, **values})
    return points


def _draw(span: Any, random: np.random.RandomState) -> float | int:
    if span.is_integer:
        return int(random.randint(int(span.low), int(span.high)))
    value = float(10 ** (span.low + (span.high - span.low) * random.uniform()))
    return 1 - value if span.is_one_minus else value


def sweep() -> list[Point]:
    """The learning rates of the seed study: DeepOBS's grid of 36."""
    return deepobs_points.points("36", {})


def complete(
    name: str, values: Mapping[str, Any], schedule: str, form: str, num_epochs: int
) -> Point:
    """A point as a submission of the family reads it."""
    point = {"optimizer": name, **values, "schedule": schedule}
    if schedule != CONSTANT:
        point |= {"schedule_form": form, "num_epochs": num_epochs}
    return point
