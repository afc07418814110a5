"""Values that cannot change: to JSON and back."""

import datetime
import decimal
import enum
import fractions
import math
import pathlib
import struct
import uuid
from collections.abc import Callable
from typing import Any

from algoperf.errors import BadCheckpoint
from algoperf.leaves.names import name_of
from algoperf.leaves.nodes import Node

_LARGE = 2**63
_PATHS = (
    pathlib.PosixPath,
    pathlib.WindowsPath,
    pathlib.PurePosixPath,
    pathlib.PureWindowsPath,
)

# type: (what JSON it becomes, what makes it again)
_MADE: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    bytes: (bytes.hex, bytes.fromhex),
    complex: (
        lambda v: [_bits(v.real), _bits(v.imag)],
        lambda j: complex(*map(_float, j)),
    ),
    range: (lambda v: [v.start, v.stop, v.step], lambda j: range(*j)),
    decimal.Decimal: (str, decimal.Decimal),
    fractions.Fraction: (str, fractions.Fraction),
    datetime.date: (datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.time: (datetime.time.isoformat, datetime.time.fromisoformat),
    datetime.datetime: (
        datetime.datetime.isoformat,
        datetime.datetime.fromisoformat,
    ),
    datetime.timedelta: (
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda j: datetime.timedelta(*j),
    ),
    uuid.UUID: (str, uuid.UUID),
    **{kind: (str, kind) for kind in _PATHS},
    type(Ellipsis): (lambda _: None, lambda _: ...),
    type(NotImplemented): (lambda _: None, lambda _: NotImplemented),
}
_BY_NAME = {name_of(kind): make for kind, (_, make) in _MADE.items()}


def is_plain(value: object) -> bool:
    """Whether a value is its own node, or nearly so."""
    return type(value) in (type(None), bool, int, float, str)


def plain_node(value: object) -> Node:
    """The node of a plain value."""
    if type(value) is float and not math.isfinite(value):
        return {"is": "float", "bits": _bits(value)}  # JSON has no NaN, no infinity
    if type(value) is int and abs(value) >= _LARGE:
        return {"is": "int", "hex": hex(value)}
    return value


def value_node(value: object) -> Node | None:
    """The node of another value that cannot change; None if it is not one."""
    if type(value) in _MADE:
        to_json = _MADE[type(value)][0]
        return {"is": "value", "type": name_of(type(value)), "json": to_json(value)}
    return None


def enum_node(value: enum.Enum) -> Node:
    """The node of a member of an enumeration; of a flag, also of several joined."""
    node = {"is": "enum", "type": name_of(type(value)), "name": value._name_}
    if issubclass(type(value), enum.Flag):
        node["number"] = value._value_
    return node


def read_value(node: Node) -> object:
    """What `plain_node` and `value_node` were made of."""
    if node["is"] == "float":
        return _float(node["bits"])
    if node["is"] == "int":
        return int(node["hex"], 16)
    return _BY_NAME[node["type"]](node["json"])


def read_enum(node: Node, kind: Any, path: str) -> Any:
    """The member of `kind` that `enum_node` was made of."""
    is_enum = isinstance(kind, type) and issubclass(kind, enum.Enum)
    if is_enum and "number" in node:
        return kind(node["number"])
    if not is_enum or node["name"] not in kind.__members__:
        raise BadCheckpoint(
            f"The checkpoint has the member {node['name']} of {node['type']} at "
            f"{path!r}, which this run's does not have. It belongs to another submission or "
            "version."
        )
    return kind.__members__[node["name"]]


def _bits(value: float) -> str:
    return struct.pack(">d", value).hex()


def _float(bits: str) -> float:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    return float(value)
