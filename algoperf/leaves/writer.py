"""A state to arrays and a structure."""

import enum
import functools
import inspect
import logging
import random
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from algoperf.errors import BadCheckpoint
from algoperf.leaves import functions, objects, randoms, values
from algoperf.leaves.arrays import NumpyMemory, numpy_node
from algoperf.leaves.names import find, importable_name, name_of, own_name, single_name
from algoperf.leaves.nodes import Node, join, kind_of

# What a new state has as well: nothing of it is lost by leaving it out.
_CONSTANTS = (logging.Logger, type(threading.Lock()), type(threading.RLock()))
# Modules whose objects belong to the harness.
_HARNESS = (
    "algoperf.workload",
    "algoperf.definition",
    "algoperf.pipeline",
    "algoperf.submission",
    "algoperf.logs",
    "algoperf.runner",
    "algoperf.jax_backend.backend",
    "algoperf.jax_backend.model",
    "algoperf.pytorch_backend.backend",
    "algoperf.pytorch_backend.model",
)
# Of objects that are not what their type promises.
_FAULTS = (TypeError, ValueError, AttributeError, LookupError, RuntimeError)


def is_a(value: object, *kinds: type) -> bool:
    """`isinstance` that asks nothing of the value's class (no `__class__` property)."""
    return issubclass(type(value), kinds)


class Writer:
    """Takes one state apart. For one use."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.needs: dict[str, str] = {}  # path: what a template must have there
        self._nodes: dict[int, Node] = {}  # of objects met, by id
        self._alive: list[Any] = []  # keeps ids from being given to other objects
        self._open: set[int] = set()  # immutable ones being written
        self._num_shared = 0
        self._path = ""  # where we are, for messages
        self._memory = NumpyMemory()

    def leaves(self, state: object) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by path, and in JSON the structure and what a template must have.

        Copies, which no later step changes. Raises `BadCheckpoint` with path and type for
        what cannot be saved.
        """
        try:
            node = self.write(state, "")
            self.finish()
        except RecursionError:
            raise BadCheckpoint(
                "The state is nested too deeply to be saved. Use lists rather than chains."
            ) from None
        except _FAULTS as error:
            raise BadCheckpoint(
                f"{self._path!r} cannot be saved: {type(error).__name__}: {error}"
            ) from error
        return self.arrays, {"tree": node, "needs": self.needs}

    def finish(self) -> None:
        """Checks and adds what is known only when all has been met."""
        self._memory.check()

    def write(self, value: Any, path: str) -> Node:
        """The node of a value; arrays in it are named by `path`."""
        if values.is_plain(value):
            return values.plain_node(value)
        node = values.value_node(value)
        if node is not None:
            return node
        if id(value) in self._nodes:
            return self._again(value, path)
        node = self._nodes[id(value)] = {}
        self._alive.append(value)
        self._path = path
        try:
            node.update(self._node(value, path))
        except BaseException:
            self._nodes.pop(id(value), None)
            raise
        return node

    def _again(self, value: object, path: str) -> Node:
        if id(value) in self._open:
            raise self.refusal(value, path, "it contains itself")
        node = self._nodes[id(value)]
        if "#" not in node:
            node["#"] = self._num_shared
            self._num_shared += 1
        return {"same": node["#"]}

    def special(self, value: object, path: str) -> Node | None:
        """The node of a framework's own object; None if it is not one."""
        return None

    def _node(self, value: object, path: str) -> Node:
        node = self.special(value, path)
        if node is not None:
            return node
        if is_a(value, np.ndarray, np.generic):
            return self._numpy(value, path)
        for kinds, write in self._writers():
            if is_a(value, *kinds):
                return write(value, path)
        return self._object(value, path)

    def _writers(self) -> list[tuple[tuple[type, ...], Callable[[Any, str], Node]]]:
        return [
            ((enum.Enum,), lambda value, _: values.enum_node(value)),
            (objects.MAPPINGS, self._mapping),
            (objects.SEQUENCES, self._sequence),
            (objects.SETS, self._sequence),
            ((bytearray,), lambda value, _: {"is": "bytearray", "hex": value.hex()}),
            ((slice,), self._slice),
            ((types.MappingProxyType,), self._proxy),
            ((types.ModuleType,), lambda v, _: {"is": "module", "name": v.__name__}),
            ((type,), self._class),
            ((types.FunctionType,), self._function),
            ((types.MethodType, types.BuiltinMethodType), self._method),
            ((functools.partial,), self._partial),
            (randoms.KINDS, self._random),
            ((weakref.ref,), self._weak_reference),
            (_CONSTANTS, self.constant),
        ]

    def _numpy(self, value: Any, path: str) -> Node:
        name = self.add_array(path, lambda: np.array(value, order="C"))
        node = numpy_node(value, name)
        if node is None:
            del self.arrays[name]
            raise self.refusal(value, path, "only plain arrays of numbers can")
        if is_a(value, np.ndarray):
            self._memory.add(value, path)
            self.arrays[name] = np.array(value.transpose(node["axes"]), order="C")
        return node

    def add_array(self, path: str, make: Callable[[], np.ndarray]) -> str:
        """Keeps an array under a name of its own, which is returned."""
        name, number = path or ".", 1
        while name in self.arrays:
            number += 1
            name = f"{path}~{number}"
        self.arrays[name] = make()
        return name

    def _mapping(self, value: Any, path: str) -> Node:
        base = objects.container_of(type(value))
        assert base is not None
        node: dict[str, Any] = {"is": "mapping", **self._type(value, path, base, dict)}
        pairs = node["items"] = []
        for number, (key, member) in enumerate(list(base.items(value))):  # type: ignore[attr-defined]
            end = join(path, key if _is_hashable_value(key) else number)
            pairs.append([self.write(key, f"{end}~key"), self.write(member, end)])
        if is_a(value, objects.MAPPINGS[1]):
            node["factory"] = self.write(value.default_factory, f"{path}~factory")
        return node | self._own_attributes(value, path)

    def _sequence(self, value: Any, path: str) -> Node:
        base = objects.container_of(type(value))
        assert base is not None
        is_fixed = base in (tuple, frozenset)
        if is_fixed and not base.__len__(value):  # type: ignore[attr-defined]
            self._nodes.pop(id(value))  # Python has only one empty tuple
        if is_fixed:
            self._open.add(id(value))
        node: dict[str, Any] = {"is": base.__name__}
        node |= self._type(value, path, base, base)
        members = list(base.__iter__(value))  # type: ignore[attr-defined]
        fields = getattr(type(value), "_fields", None) if base is tuple else None
        ends = fields if fields and len(fields) == len(members) else range(len(members))
        node["items"] = [
            self.write(member, join(path, end))
            for end, member in zip(ends, members, strict=True)
        ]
        self._open.discard(id(value))
        if base in objects.SETS and not any(isinstance(n, dict) for n in node["items"]):
            node["items"].sort(key=repr)  # sets have no order that would stay
        if is_a(value, objects.SEQUENCES[0]):
            node["maxlen"] = value.maxlen
        return node | self._own_attributes(value, path)

    def _type(self, value: object, path: str, *usual: type) -> dict[str, str]:
        """The name of a class, unless it is the usual one for this kind of node."""
        kind = type(value)
        if kind is usual[-1]:
            return {}
        if kind not in usual and not objects.is_written_in_python(kind):
            raise self.refusal(value, path)
        if importable_name(kind) is None:
            self.needs[path] = f"an object of the class {name_of(kind)}"
        return {"type": name_of(kind)}

    def _own_attributes(self, value: object, path: str) -> dict[str, Any]:
        """Of a container's subclass."""
        found = list(objects.attributes(value))
        if not found:
            return {}
        pairs = [[k, self.write(v, f"{join(path, k)}~")] for k, v in found]
        return {"attributes": pairs}

    def _slice(self, value: slice, path: str) -> Node:
        parts = [value.start, value.stop, value.step]
        return {"is": "slice", "items": [self.write(part, path) for part in parts]}

    def _weak_reference(self, value: object, path: str) -> Node:
        if type(value) is not weakref.ref or value.__callback__ is not None:
            raise self.refusal(value, path, "it calls back")
        self._nodes.pop(id(value))  # Python has one for each object, which may hold it
        return {"is": "weak", "of": self.write(value(), path)}

    def _proxy(self, value: Any, path: str) -> Node:
        return {"is": "proxy", "of": self.write(dict(value), path)}

    def _random(self, value: object, path: str) -> Node:
        if is_a(value, random.Random) and type(value) is not random.Random:
            raise self.refusal(value, path)
        found = randoms.state_of(value)
        return {"is": "random", **{k: self.write(v, path) for k, v in found.items()}}

    def _class(self, value: type, path: str) -> Node:
        name = importable_name(value)
        if name is None:
            return self.constant(value, path)
        return {"is": "global", "name": name}

    def _function(self, value: types.FunctionType, path: str) -> Node:
        """A function by its name, or by its code and what it holds."""
        name = importable_name(value)
        if name is not None:
            return {"is": "global", "name": name}
        node, held = functions.parts_of(value)
        mark = self._mark()
        try:
            for part, contents in held.items():
                node[part] = [self.write(c, f"{path}~{part}") for c in contents]
        except BadCheckpoint:
            self._back_to(mark)  # a new state has the function as well
            return self.constant(value, path) | {"digest": node["digest"]}
        if not functions.has_known_code(node):
            self.needs[path] = f"the function {node['name']} {node['digest']}"
        return node

    def _method(self, value: Any, path: str) -> Node:
        name = importable_name(value)
        if name is not None and not is_a(value.__self__, type):
            return {"is": "global", "name": name}
        if value.__self__ is None or is_a(value.__self__, types.ModuleType):
            name = f"{getattr(value.__self__, '__name__', '')}:{value.__name__}"
            is_there = find(name) is value
            return (
                {"is": "global", "name": name}
                if is_there
                else self.constant(value, path)
            )
        function = getattr(value, "__func__", None)
        found = inspect.getattr_static(type(value.__self__), value.__name__, None)
        if is_a(value.__self__, type):
            found = inspect.getattr_static(value.__self__, value.__name__, None)
            found = getattr(found, "__func__", found)
        node = {"is": "method", "name": value.__name__}
        if function is not None and found is not function:
            node["function"] = self.write(function, f"{path}~function")
        return node | {"self": self.write(value.__self__, f"{path}~self")}

    def _partial(self, value: Any, path: str) -> Node:
        kind = type(value)
        parts = (value.func, value.args, value.keywords, vars(value))
        if importable_name(kind) is None:
            return self.constant(value, path)
        items = [self.write(part, path) for part in parts]
        return {"is": "partial", "type": name_of(kind), "items": items}

    def _object(self, value: object, path: str) -> Node:
        kind = type(value)
        if self.is_harness(kind):
            return self.constant(value, path)
        if not objects.is_written_in_python(kind):
            return self._unknown(value, path)
        found = list(self.attributes_of(value))
        if not found and (name := single_name(value)):
            return {"is": "global", "name": name}
        if callable(value):
            name = own_name(value)
            return (
                {"is": "global", "name": name} if name else self._callable(value, path)
            )
        return self._attributes(value, path)

    def _attributes(self, value: object, path: str) -> Node:
        node: dict[str, Any] = {"is": "object", **self._type(value, path, object)}
        node["attributes"] = [
            [name, self.write(attribute, self.path_of_attribute(value, path, name))]
            for name, attribute in self.attributes_of(value)
        ]
        return node

    def _callable(self, value: object, path: str) -> Node:
        """An object that can be called; it may hold what only a new state has."""
        mark = self._mark()
        try:
            return self._attributes(value, path)
        except BadCheckpoint:
            self._back_to(mark)
            return self.constant(value, path)

    def _unknown(self, value: object, path: str) -> Node:
        if callable(value):
            name = importable_name(value)
            if name is not None:
                return {"is": "global", "name": name}
            return self._wrapper(value, path)
        raise self.refusal(value, path)

    def _wrapper(self, value: object, path: str) -> Node:
        """What C code made around a function: jitted, cached."""
        node = self.constant(value, path)
        inner = getattr(value, "__wrapped__", None)
        if inner is not None:
            node["inner"] = self.write(inner, path)
        return node

    def constant(self, value: object, path: str) -> Node:
        """The node of what is left out: the template must have the same."""
        name = functions.constant_name(value)
        self.needs[path] = f"the same {kind_of(value)} {name}".rstrip()
        return {"is": "constant", "type": name_of(type(value)), "name": name}

    def is_harness(self, kind: type) -> bool:
        """Whether objects of this class belong to the harness, which makes them anew."""
        module = kind.__module__
        return any(module == m or module.startswith(f"{m}.") for m in _HARNESS)

    def attributes_of(self, value: object) -> Iterator[tuple[str, Any]]:
        """The attributes that are saved of an object, in the order of saving."""
        return objects.attributes(value)

    def path_of_attribute(self, value: object, path: str, name: str) -> str:
        """Where an attribute's arrays are named."""
        return join(path, name)

    def refusal(self, value: object, path: str, why: str = "") -> BadCheckpoint:
        """The error for a value that cannot be saved."""
        return BadCheckpoint(
            f"{path!r} is of type {kind_of(value)}, which cannot be saved"
            + (f": {why}. " if why else ". ")
            + "Keep arrays, plain values, containers of them and objects of classes "
            "written in Python in the optimizer state."
        )

    def _mark(self) -> tuple[int, int, int]:
        return len(self.arrays), len(self.needs), len(self._alive)

    def _back_to(self, mark: tuple[int, int, int]) -> None:
        """Forgets all that was written since `mark`."""
        for name in list(self.arrays)[mark[0] :]:
            del self.arrays[name]
        for name in list(self.needs)[mark[1] :]:
            del self.needs[name]
        for value in self._alive[mark[2] :]:
            self._nodes.pop(id(value), None)
            self._open.discard(id(value))
            self.forget(value)
        del self._alive[mark[2] :]

    def forget(self, value: object) -> None:
        """Undoes what was noted of a value."""
        self._memory.forget(value)


def _is_hashable_value(key: Any) -> bool:
    if is_a(key, tuple):
        return all(_is_hashable_value(part) for part in tuple.__iter__(key))
    return values.is_plain(key)
