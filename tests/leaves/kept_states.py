"""What the tests of leaves share: round trips, and classes of which states are made."""

import collections
import dataclasses
import enum
import json
import typing

from algoperf.leaves import MISSING, Reader, Writer, differences


def save(state):
    """Leaves as they come back from a file."""
    arrays, rest = Writer().leaves(state)
    return arrays, json.loads(json.dumps(rest, allow_nan=False))


def restore(saved, template=MISSING):
    return Reader(saved[0]).state(saved[1], template)


def round_trip(state, template=MISSING):
    """The state restored; saved again, it must be the same in every bit."""
    saved = save(state)
    restored = restore(saved, template)
    again = save(restored)
    assert differences(saved, again) == []
    assert saved[1]["tree"] == again[1]["tree"]
    return restored


class Color(enum.Enum):
    RED = 1
    GREEN = 2


class Number(enum.IntEnum):
    ONE = 1


class Flag(enum.Flag):
    A = 1
    B = 2


Pair = collections.namedtuple("Pair", "first second")


class Typed(typing.NamedTuple):
    x: object
    y: object = 1

    def norm(self):
        return abs(self.x)


@dataclasses.dataclass
class Data:
    a: object
    b: object = None


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    a: object
    b: int = 0


class Plain:
    def __init__(self):
        raise AssertionError("restoring runs no code of the class")

    @classmethod
    def new(cls, **attributes):
        value = object.__new__(cls)
        vars(value).update(attributes)
        return value


class Slots:
    __slots__ = ("x", "y")


class Dict(dict):
    pass


class List(list):
    pass


def of(cls, *arguments, **attributes):
    value = cls(*arguments)
    vars(value).update(attributes)
    return value


def counter(start):
    def count():
        nonlocal start
        start += 1
        return start

    return count
