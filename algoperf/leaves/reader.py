"""Arrays and a structure back to a state."""

import collections
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from algoperf.errors import BadCheckpoint
from algoperf.leaves import functions, names, objects, randoms, values
from algoperf.leaves.arrays import read_numpy
from algoperf.leaves.nodes import MISSING, Node, join, kind_of

_DAMAGE = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    RecursionError,
    RuntimeError,
)


class Reader:
    """Puts one state together. For one use."""

    keep: frozenset[str] = frozenset()  # attributes of templates that stay

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays
        self._used: set[str] = set()
        self._shared: dict[int, Any] = {}  # objects that occur again, by number
        self._claimed: set[int] = set()  # parts of the template in use, by id
        self._alive: list[Any] = []
        self._path = ""  # where we are, for messages
        self._kinds: dict[str, Callable[[Node, Any, str], Any]] = {
            "float": lambda node, *_: values.read_value(node),
            "int": lambda node, *_: values.read_value(node),
            "value": lambda node, *_: values.read_value(node),
            "enum": self._enum,
            "array": self._numpy,
            "scalar": self._numpy,
            "mapping": self._mapping,
            "proxy": self._proxy,
            "weak": self._weak_reference,
            "list": self._list,
            "deque": self._list,
            "set": self._set,
            "tuple": self._tuple,
            "frozenset": self._tuple,
            "bytearray": self._bytearray,
            "slice": self._slice,
            "module": self._module,
            "global": self._global,
            "function": self._function,
            "method": self._method,
            "partial": self._partial,
            "random": self._random,
            "object": self._object,
            "constant": self._constant,
        }

    def state(self, rest: Mapping[str, Any], template: object) -> Any:
        """The state that was saved, in the objects of `template` where they fit.

        Raises `BadCheckpoint` for what cannot be made here, and for what is damaged.
        """
        if "tree" not in rest:
            raise BadCheckpoint(
                "The checkpoint holds no structure of the state: it is damaged, or was "
                "written by an older version of the benchmark. Resume with that version, or "
                "start anew with --overwrite."
            )
        try:
            restored = self.read(rest["tree"], template, "")
        except _DAMAGE as error:
            raise BadCheckpoint(
                f"What the checkpoint says of {self._path!r} cannot be read "
                f"({type(error).__name__}: {error}): it is damaged, or was written with other "
                "versions of the submission or its packages."
            ) from error
        extra = sorted(set(self._arrays) - self._used)
        if extra:
            raise BadCheckpoint(
                f"The checkpoint has {len(extra)} array(s) too many; the first is "
                f"{extra[0]!r}. It was written for something else, or is damaged."
            )
        return restored

    def read(self, node: Node, template: object, path: str) -> Any:
        """What was saved as `node`, in `template` where that is possible."""
        if not isinstance(node, dict):
            return node
        if "same" in node:
            return self._shared[node["same"]]
        self._path = path
        kind = node["is"]
        if kind not in self._kinds:
            raise BadCheckpoint(
                f"{path!r} is of the kind {kind!r}, which this version does not know. "
                "Resume with the version that wrote the checkpoint."
            )
        return self.remember(node, self._kinds[kind](node, template, path))

    def remember(self, node: Node, value: object) -> object:
        """Notes the object that a node stands for, before its parts are read if it can."""
        if "#" in node:
            self._shared[node["#"]] = value
        return value

    def claim(self, template: object) -> bool:
        """Whether this part of the template is free to be filled; nobody else gets it."""
        if id(template) in self._claimed:
            return False
        self._claimed.add(id(template))
        self._alive.append(template)
        return True

    def array(self, name: str, path: str) -> np.ndarray:
        """A saved array."""
        if name not in self._arrays:
            raise BadCheckpoint(
                f"The checkpoint has no array for {path!r}. It was written for something "
                "else, or is damaged."
            )
        self._used.add(name)
        return self._arrays[name]

    def type_of(self, node: Node, template: object, path: str) -> type[Any]:
        """The class of an object; the template's, where that has the name."""
        name = node["type"]
        if template is not MISSING and names.name_of(type(template)) == name:
            return type(template)
        found = names.find(name)
        if not isinstance(found, type):
            raise BadCheckpoint(
                f"{path!r} is an object of the class {name}, which cannot be found. Define "
                "the class at the top level of a module, or make the object in "
                "init_optimizer_state."
            )
        return found

    def _shell(self, node: Node, kind: type, template: object) -> Any:
        """The object to fill: the template, or a new one."""
        if type(template) is kind and self.claim(template):
            return self.remember(node, template)
        return self.remember(node, objects.new_object(kind))

    def _enum(self, node: Node, template: object, path: str) -> object:
        return values.read_enum(node, self.type_of(node, template, path), path)

    def _numpy(self, node: Node, template: Any, path: str) -> Any:
        value = read_numpy(node, self.array(node["array"], path))
        if not _fits(template, value) or not self.claim(template):
            return value
        template[...] = value
        return template

    def _mapping(self, node: Node, template: object, path: str) -> Any:
        kind = self.type_of(node, template, path) if "type" in node else dict
        base = objects.container_of(kind)
        if base not in objects.MAPPINGS:
            raise TypeError(f"{kind} is no dictionary")
        had = dict(base.items(template)) if type(template) is kind else {}
        restored = self._shell(node, kind, template)
        base.clear(restored)
        for number, (key_node, child) in enumerate(node["items"]):
            key = self.read(key_node, MISSING, f"{path}~key")
            end = key if values.is_plain(key) or type(key) is tuple else number
            member = self.read(child, _get(had, key), join(path, end))
            base.__setitem__(restored, key, member)
        if "factory" in node:
            old = getattr(restored, "default_factory", None)
            factory = self.read(node["factory"], old, f"{path}~factory")
            restored.default_factory = factory
        return self._with_attributes(restored, node, path)

    def _list(self, node: Node, template: object, path: str) -> Any:
        base: Any = list if node["is"] == "list" else collections.deque
        kind = self.type_of(node, template, path) if "type" in node else base
        had = list(base.__iter__(template)) if type(template) is kind else []
        maxlen = node.get("maxlen")
        if base is collections.deque and getattr(template, "maxlen", None) != maxlen:
            template = MISSING
        restored = self._shell(node, kind, template)
        base.clear(restored)
        if base is collections.deque and restored.maxlen != maxlen:
            base.__init__(restored, (), maxlen)
        for number, child in enumerate(node["items"]):
            old = had[number] if number < len(had) else MISSING
            base.append(restored, self.read(child, old, join(path, number)))
        return self._with_attributes(restored, node, path)

    def _set(self, node: Node, template: object, path: str) -> Any:
        kind = self.type_of(node, template, path) if "type" in node else set
        restored = self._shell(node, kind, template)
        set.clear(restored)
        for number, child in enumerate(node["items"]):
            set.add(restored, self.read(child, MISSING, join(path, number)))
        return self._with_attributes(restored, node, path)

    def _tuple(self, node: Node, template: Any, path: str) -> Any:
        base: Any = tuple if node["is"] == "tuple" else frozenset
        kind = self.type_of(node, template, path) if "type" in node else base
        is_alike = base is tuple and isinstance(template, tuple)
        had = list(tuple.__iter__(template)) if is_alike else []
        fields = getattr(kind, "_fields", None) if base is tuple else None
        members = []
        for number, child in enumerate(node["items"]):
            old = had[number] if number < len(had) else MISSING
            end = fields[number] if fields else number
            members.append(self.read(child, old, join(path, end)))
        if fields is not None and len(fields) != len(members):
            raise TypeError(f"{kind} has the fields {fields}")
        return self._with_attributes(objects.new_tuple(kind, members), node, path)

    def _proxy(self, node: Node, template: object, path: str) -> Any:
        return types.MappingProxyType(self.read(node["of"], MISSING, path))

    def _weak_reference(self, node: Node, template: object, path: str) -> object:
        old = template() if type(template) is weakref.ref else MISSING
        value = self.read(node["of"], old, path)
        return weakref.ref(set() if value is None else value)  # None: it has died

    def _bytearray(self, node: Node, template: Any, path: str) -> Any:
        is_one = type(template) is bytearray and self.claim(template)
        restored = template if is_one else bytearray()
        restored[:] = bytes.fromhex(node["hex"])
        return restored

    def _slice(self, node: Node, template: object, path: str) -> object:
        return slice(*(self.read(part, MISSING, path) for part in node["items"]))

    def _module(self, node: Node, template: object, path: str) -> object:
        return self._found(names.module(node["name"]), node, path)

    def _global(self, node: Node, template: object, path: str) -> object:
        return self._found(names.find(node["name"]), node, path)

    def _found(self, found: object, node: Node, path: str) -> object:
        if found is None:
            raise BadCheckpoint(
                f"{path!r} is {node['name']}, which cannot be found. Resume with the "
                "submission and the packages that wrote the checkpoint."
            )
        return found

    def _function(self, node: Node, template: Any, path: str) -> Any:
        if functions.is_same_code(node, template) and self.claim(template):
            function = template
        else:
            function = functions.new_function(node)
        if function is None:
            raise self.no_template(node, template, path)
        self.remember(node, function)
        had = functions.parts_of(function)[1]
        held = {}
        for part, before in had.items():
            held[part] = [
                self.read(child, old, f"{path}~{part}")
                for child, old in zip(node[part], before, strict=True)
            ]
        functions.fill(function, held["cells"])
        function.__defaults__, function.__kwdefaults__ = held["defaults"]
        vars(function).update(held["attributes"][0])
        return function

    def _method(self, node: Node, template: object, path: str) -> Any:
        old = getattr(template, "__self__", MISSING)
        owner = self.read(node["self"], old, f"{path}~self")
        if "function" in node:
            old = getattr(template, "__func__", MISSING)
            function = self.read(node["function"], old, f"{path}~function")
            return types.MethodType(function, owner)
        return getattr(owner, node["name"])

    def _partial(self, node: Node, template: Any, path: str) -> Any:
        kind = self.type_of(node, template, path)
        alike = type(template) is kind
        old: Any = (
            (template.func, template.args, template.keywords, vars(template))
            if alike
            else (MISSING,) * 4
        )
        func, args, keywords, attributes = (
            self.read(part, before, path)
            for part, before in zip(node["items"], old, strict=True)
        )
        restored = kind.__new__(kind, func, *args, **keywords)
        vars(restored).update(attributes)
        return restored

    def _random(self, node: Node, template: object, path: str) -> object:
        parts = {
            key: self.read(child, MISSING, path)
            for key, child in node.items()
            if key not in ("is", "#")
        }
        is_one = isinstance(template, randoms.KINDS) and self.claim(template)
        if is_one and randoms.restore_into(template, parts):
            return template
        return randoms.generator_of(parts)

    def _object(self, node: Node, template: object, path: str) -> Any:
        kind = self.type_of(node, template, path)
        if not objects.is_written_in_python(kind):
            raise TypeError(f"{kind} is not written in Python")
        return self._with_attributes(self._shell(node, kind, template), node, path)

    def _with_attributes(self, value: object, node: Node, path: str) -> Any:
        if "attributes" not in node:
            return value
        had = dict(objects.attributes(value))
        found = {
            name: self.read(
                child, had.get(name, MISSING), self.path_of_attribute(value, path, name)
            )
            for name, child in node["attributes"]
        }
        objects.set_attributes(value, found, self.keep)
        return value

    def path_of_attribute(self, value: object, path: str, name: str) -> str:
        """See `Writer.path_of_attribute`."""
        return join(path, name)

    def _constant(self, node: Node, template: Any, path: str) -> Any:
        is_alike = (
            template is not MISSING
            and names.name_of(type(template)) == node["type"]
            and functions.constant_name(template) == node["name"]
            and ("digest" not in node or _digest(template) == node["digest"])
        )
        if not is_alike:
            raise self.no_template(node, template, path)
        if "inner" in node:
            self.read(node["inner"], template.__wrapped__, path)
        return template

    def no_template(self, node: Node, template: object, path: str) -> BadCheckpoint:
        """The error where only the template could have what the checkpoint leaves out."""
        what = f"{node.get('name', '')} of type {node.get('type', 'function')}".strip()
        return BadCheckpoint(
            f"{path!r} was {what}, which checkpoints do not hold; this run has "
            f"{kind_of(template)} there. Make it in init_optimizer_state."
        )


def _fits(template: object, value: object) -> bool:
    return (
        type(template) is np.ndarray is type(value)
        and template.shape == value.shape
        and template.dtype == value.dtype
        and template.strides == value.strides
        and template.flags.writeable
        and value.flags.writeable
        and template.base is None
    )


def _get(members: dict[Any, Any], key: object) -> object:
    try:
        return members.get(key, MISSING)
    except TypeError:
        return MISSING


def _digest(function: object) -> str:
    code = getattr(function, "__code__", None)
    return names.digest_of(code) if isinstance(code, types.CodeType) else ""
