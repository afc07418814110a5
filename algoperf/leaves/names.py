"""Classes, functions and single objects by name: `module:qualified.name`."""

import functools
import hashlib
import importlib
import itertools
import sys
import types
from typing import Any

from algoperf.leaves.objects import dictionary

# As `type` tells them, whatever a class's own class says.
_OF_CLASSES = {key: type.__dict__[key] for key in ("__module__", "__qualname__")}


def name_of(thing: object) -> str:
    """How a class or function calls itself."""
    if isinstance(thing, types.MethodDescriptorType | types.WrapperDescriptorType):
        return f"{name_of(thing.__objclass__)}.{thing.__name__}"
    if isinstance(thing, type):
        return ":".join(_OF_CLASSES[key].__get__(thing) for key in _OF_CLASSES)
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", "")
    return f"{_module_of(thing)}:{name}"


def _module_of(thing: object) -> str:
    module = getattr(thing, "__module__", None)
    if isinstance(module, str):
        return module
    return type(thing).__module__  # NumPy's ufuncs do not say


def find(name: str) -> object:
    """What has that name in a module that is loaded or installed; None if nothing has."""
    module_name, _, path = name.partition(":")
    if not path or "<" in path:
        return None
    found: Any = module(module_name)
    for part in path.split("."):
        found = _part(found, part)
    return found


def _part(whole: object, name: str) -> object:
    """An attribute of a module or class as it stands there: asking them could run code."""
    if isinstance(whole, types.ModuleType):
        return vars(whole).get(name)
    places = whole.__mro__ if isinstance(whole, type) else ()
    found = next((vars(p)[name] for p in places if name in vars(p)), None)
    return found.__func__ if isinstance(found, staticmethod | classmethod) else found


def module(name: str) -> types.ModuleType | None:
    """A module that is loaded or installed."""
    if name in sys.modules:
        return sys.modules[name]
    try:
        return importlib.import_module(name)
    except Exception:  # whatever goes wrong in it, nothing is found there
        return None


def importable_name(thing: object) -> str | None:
    """The name under which `thing`, and nothing else, can be found again."""
    name = name_of(thing)
    return name if find(name) is thing else None


def own_name(value: object) -> str | None:
    """The name of an object that stands for a function which it wraps."""
    said = dictionary(value) or {}
    module = said.get("__module__", type(value).__module__)
    name = f"{module}:{said.get('__qualname__', said.get('__name__'))}"
    return name if find(name) is value else None


def single_name(value: object) -> str | None:
    """The name of an object that a module keeps: a sentinel, a singleton."""
    own = type(value).__module__
    for place in sorted(list(sys.modules), key=lambda place: place != own):
        module = sys.modules.get(place)
        for name, other in dict(vars(module)).items() if _is_module(module) else ():
            if other is value:
                return f"{place}:{name}"
    return None


def _is_module(thing: object) -> bool:
    return issubclass(type(thing), types.ModuleType)


def digest_of(code: types.CodeType) -> str:
    """Tells apart functions of the same name."""
    digest = hashlib.sha256(code.co_code)
    constants = [c for c in code.co_consts if not isinstance(c, types.CodeType)]
    texts = [repr(c) for c in constants if not isinstance(c, frozenset)]
    digest.update(repr((code.co_names, code.co_varnames, texts)).encode())
    return digest.hexdigest()[:16]


def find_code(module_name: str, qualified: str, digest: str) -> types.CodeType | None:
    """The code of a function that has no name of its own, where it is written."""
    outermost = qualified.partition(".<locals>")[0]
    outers = _functions(f"{module_name}:{outermost}")
    codes = [code for outer in outers for code in _codes_in(outer.__code__)]
    for code in itertools.chain(codes, _source_codes(module_name)):
        if code.co_qualname == qualified and digest_of(code) == digest:
            return code
    return None


def _functions(name: str) -> list[types.FunctionType]:
    """The function of that name and those it wraps."""
    found = find(name)
    functions: list[types.FunctionType] = []
    while found is not None and len(functions) < 32:
        function = getattr(found, "__func__", found)
        if isinstance(function, property):
            function = function.fget
        if isinstance(function, types.FunctionType):
            functions.append(function)
        found = getattr(function, "__wrapped__", None)
    return functions


def _codes_in(code: types.CodeType) -> list[types.CodeType]:
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return [code, *(found for c in inner for found in _codes_in(c))]


@functools.cache
def _source_codes(module_name: str) -> tuple[types.CodeType, ...]:
    """All code in the file of a module, which is compiled and not run."""
    try:
        loader = sys.modules[module_name].__spec__.loader  # type: ignore[union-attr]
        code = loader.get_code(module_name)  # type: ignore[union-attr]
    except Exception:  # it has no file, or another one by now
        return ()
    return tuple(_codes_in(code)) if code is not None else ()
