"""Values of the harness that are no code: constants, tables, members of enums."""

import copy
import enum
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import ModuleType
from typing import Any

_HARNESS = "algoperf"
_PLAIN = (type(None), bool, int, float, complex, str, bytes, PurePath)
_CONTAINERS = (tuple, list, set, frozenset)
# Set by the harness itself as it goes.
_MAY_CHANGE = {"metrics_logger", "num_synchronized"}
_LARGEST = 10_000


class HarnessValues:
    """Copies of plain values in modules and objects of the harness, to compare with later."""

    def __init__(
        self, modules: Mapping[str, ModuleType], objects: Mapping[str, object]
    ) -> None:
        """`modules`: of the harness and the workload, by name; `objects`: by name."""
        self._owners: dict[str, Mapping[str, Any]] = {
            name: vars(module)
            for name, module in modules.items()
            if _is_harness(name) or not _is_installed(module)
        }
        for name, instance in objects.items():
            if _is_harness(type(instance).__module__):
                self._owners[name] = vars(instance)
        self._before = dict(self._copies())
        self._members = dict(_members_of_enums(modules))

    def find(self) -> list[str]:
        """One sentence for each value that differs."""
        found = []
        for name, before in self._before.items():
            owner, _, key = name.rpartition(".")
            now = self._owners[owner].get(key)
            if type(now) is not type(before) or now != before:
                found.append(f"{name} was changed")
        for name, (member, before) in self._members.items():
            if (member._name_, member._value_) != before:
                found.append(f"{name} was changed")
        return found

    def _copies(self) -> Iterator[tuple[str, Any]]:
        for owner, members in self._owners.items():
            for key, value in list(members.items()):
                is_constant = not key.startswith("__") and key not in _MAY_CHANGE
                if is_constant and _is_plain(value) and value == value:
                    yield f"{owner}.{key}", copy.deepcopy(value)


def _is_harness(name: str) -> bool:
    return name.partition(".")[0] == _HARNESS


def _is_installed(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None) or "site-packages"
    return "site-packages" in file or "dist-packages" in file or "/lib/python" in file


def _is_plain(value: Any, depth: int = 3) -> bool:
    """Whether a value is made of numbers and texts alone: comparing it runs no other code."""
    kind = type(value)
    if issubclass(kind, (*_PLAIN, enum.Enum)):
        return True
    if depth == 0:
        return False
    if kind in _CONTAINERS and len(value) < _LARGEST:
        return all(_is_plain(member, depth - 1) for member in value)
    if kind is dict and len(value) < _LARGEST:
        return all(
            _is_plain(part, depth - 1) for pair in value.items() for part in pair
        )
    return False


def _members_of_enums(
    modules: Mapping[str, ModuleType],
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for name, module in modules.items():
        for key, value in list(vars(module).items()):
            is_own = isinstance(value, enum.EnumMeta) and value.__module__ == name
            for member in value if is_own else ():
                state = (member._name_, member._value_)
                yield f"{name}.{key}.{member.name}", (member, state)
