"""Attributes and members of objects, read and set without running code of their classes."""

import collections
import types
from collections.abc import Iterator
from typing import Any

# Containers whose members are saved, also where a class in Python is derived from them.
MAPPINGS = (collections.OrderedDict, collections.defaultdict, dict)
SEQUENCES = (collections.deque, list, tuple)
SETS = (set, frozenset)
_BASES = (object, types.SimpleNamespace, *MAPPINGS, *SEQUENCES, *SETS)
_NEW_OF_BASES: dict[type, Any] = {base: base.__new__ for base in _BASES}


def container_of(kind: type) -> type | None:
    """The container that a class is or is derived from; None if it is none."""
    return next((base for base in _BASES[1:] if issubclass(kind, base)), None)


def is_written_in_python(kind: type) -> bool:
    """Whether all that its objects hold is in attributes and, of containers, members."""
    if kind is object:
        return False
    for part in kind.__mro__:
        if part in _BASES:
            continue
        new = vars(part).get("__new__")
        if isinstance(new, types.BuiltinFunctionType) or not part.__flags__ & 1 << 9:
            return False  # written in C: it may hide anything
    return not issubclass(kind, str | int | float | bytes | BaseException | type)


def new_object(kind: type) -> object:
    """An empty object of that class, without `__init__`."""
    base = container_of(kind) or object
    return _NEW_OF_BASES[base](kind)


def new_tuple(kind: type, members: list[Any]) -> Any:
    """A tuple or frozen set of that class."""
    base = container_of(kind)
    assert base in (tuple, frozenset)
    return _NEW_OF_BASES[base](kind, members)


def attributes(value: object) -> Iterator[tuple[str, Any]]:
    """All attributes that an object holds itself: in its `__dict__` and in slots."""
    yield from dict(dictionary(value) or {}).items()
    for name, slot in _slots(type(value)):
        try:
            yield name, slot.__get__(value)
        except AttributeError:
            continue


def set_attributes(value: object, values: dict[str, Any], keep: frozenset[str]) -> None:
    """Makes `values` the attributes that an object holds, but for those named in `keep`."""
    slots, held = dict(_slots(type(value))), dictionary(value)
    for name in slots.keys() & dict(attributes(value)).keys() - values.keys():
        slots[name].__delete__(value)
    if held is not None:  # emptied, so that the order is that of `values`
        kept = {name: held[name] for name in keep & held.keys()}
        held.clear()
        held.update(kept)
    for name, attribute in values.items():
        if name in slots:
            slots[name].__set__(value, attribute)
        elif held is not None:
            held[name] = attribute
        else:
            raise KeyError(name)


def dictionary(value: object) -> dict[str, Any] | None:
    """An object's `__dict__`, whatever its class says of it."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None
    return found if type(found) is dict else None


def _slots(kind: type) -> Iterator[tuple[str, Any]]:
    for part in kind.__mro__:
        for name, member in vars(part).items():
            is_slot = isinstance(member, types.MemberDescriptorType)
            if is_slot and name != "__dict__":
                yield name, member
