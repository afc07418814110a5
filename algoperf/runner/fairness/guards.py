"""What a submission must not have changed when it is evaluated: code, time, process settings.

Taken down before any code of the submission has run, and compared before every evaluation, by
identity. This finds what is done openly in Python; it is no sandbox.
"""

import builtins
import copy
import functools
import gc
import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from algoperf.frameworks import code_of_all
from algoperf.runner.fairness import environment
from algoperf.runner.fairness.harness_values import HarnessValues
from algoperf.runner.fairness.loaded_code import LoadedCode
from algoperf.runner.fairness.packages import is_function_of_package
from algoperf.runner.fairness.process_state import ProcessState

_HARNESS = "algoperf"
# Wings whose modules are read anew or belong to submissions.
_NOT_HARNESS = ("algoperf.reference_algorithms", "algoperf.scoring")
# Where models, losses and metrics get their functions from; looked at where they are imported.
_FRAMEWORK_MODULES = ("builtins", "numpy", "time", *code_of_all("functions"))
_BELOW = tuple(name for name in _FRAMEWORK_MODULES if name.endswith("."))
# What the harness imports where it needs it: a module that comes first would be taken for it.
_IMPORTED_LATE = ("safetensors", "safetensors.numpy", "ml_dtypes")
_MISSING = object()
_CODE_PARTS = ("__code__", "__defaults__", "__kwdefaults__")
_METHODS = (FunctionType, property, staticmethod, classmethod)

Named = Mapping[str, Any]  # what is compared by identity, by the name that people read


class Guards:
    """Finds what has been replaced or set since it was made."""

    def __init__(
        self,
        *,
        modules: Iterable[ModuleType] = (),
        objects: Mapping[str, object] | None = None,
        value: object = None,
        settings: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """`modules`: the workload's; `objects`: instances whose methods must stay, by name;
        `value`: the definition, which must stay equal; `settings`: of the framework."""
        self._objects = dict(objects or {})
        self._modules = {module.__name__: module for module in modules}
        self._modules |= dict(_loaded_modules())
        for instance in self._objects.values():
            name = type(instance).__module__
            self._modules[name] = sys.modules[name]
        for instance in self._objects.values():
            _fill_cached_properties(instance)
        self._value, self._value_before = value, copy.deepcopy(value)
        self._settings = settings
        self._settings_before = dict(settings())
        self._environment = dict(os.environ)
        for name in _IMPORTED_LATE:
            if importlib.util.find_spec(name.partition(".")[0]):
                importlib.import_module(name)
        self._loaded = LoadedCode.now()
        self._process = ProcessState()
        self._values = HarnessValues(self._modules, self._objects)
        self._code = dict(self._named_code())
        self._hooks = dict(_hooks())

    def find(self) -> list[str]:
        """What differs now, one description each."""
        found = _replaced(self._code, dict(self._named_code()))
        found += _replaced(self._hooks, dict(_hooks()))
        found += self._loaded.find() + self._process.find() + self._values.find()
        if self._value != self._value_before:
            found.append("the workload's definition was changed")
        found += [
            f"setting {name} was changed from {self._settings_before.get(name)!r} to {now!r}"
            for name, now in self._settings().items()
            # Parts of a framework that are imported later bring settings of their own.
            if name in self._settings_before and now != self._settings_before[name]
        ]
        found += [
            f"environment variable {name} was changed"
            for name in environment.changed_since(self._environment)
        ]
        return list(dict.fromkeys(found + _running_timers()))

    def _named_code(self) -> Iterator[tuple[str, Any]]:
        for name, module in self._modules.items():
            yield from _code_of_module(name, module)
        for name, instance in self._objects.items():
            yield f"{name}.__class__", type(instance)
            yield from _attributes_of(name, instance)
            for key, value in list(vars(instance).items()):
                if hasattr(type(value), "named_modules"):
                    yield from _parts_of_module(f"{name}.{key}", value)


def _loaded_modules() -> Iterator[tuple[str, ModuleType]]:
    for name, module in list(sys.modules.items()):
        is_harness = name.split(".")[0] == _HARNESS and not name.startswith(
            _NOT_HARNESS
        )
        is_framework = name in _FRAMEWORK_MODULES or name.startswith(_BELOW)
        if (is_harness or is_framework) and isinstance(module, ModuleType):
            yield name, module


def _code_of_module(name: str, module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Functions, classes and modules that a module's code looks up, and what they consist of."""
    for key, value in list(vars(module).items()):
        if callable(value) or isinstance(value, ModuleType):
            yield f"{name}.{key}", value
        if getattr(value, "__module__", None) != name:
            continue
        if isinstance(value, type):
            for attribute, member in list(vars(value).items()):
                if isinstance(member, (*_METHODS, functools.cached_property)):
                    yield f"{name}.{key}.{attribute}", member
                    yield from _parts(f"{name}.{key}.{attribute}", member)
        else:
            yield from _parts(f"{name}.{key}", value)


def _parts(name: str, value: object) -> Iterator[tuple[str, Any]]:
    """The code of a function; replacing it leaves the function's identity as it was."""
    function = getattr(value, "__func__", value)
    function = value.fget if isinstance(value, property) else function
    if isinstance(function, FunctionType):
        for part in _CODE_PARTS:
            yield f"{name}.{part}", getattr(function, part)


def _attributes_of(name: str, instance: object) -> Iterator[tuple[str, Any]]:
    """Values of an instance that are code, or that hide a method of its class."""
    for key, value in list(vars(instance).items()):
        hides = isinstance(getattr(type(instance), key, None), _METHODS)
        if hides or callable(value) or isinstance(value, ModuleType):
            yield f"{name}.{key}", value


def _parts_of_module(name: str, module: Any) -> Iterator[tuple[str, Any]]:
    """Classes, hooks and plain settings of a framework's module and of its parts."""
    for path, part in module.named_modules():
        where = f"{name}.{path}".rstrip(".")
        yield f"{where}.__class__", type(part)
        yield from _attributes_of(where, part)
        for key, value in list(vars(part).items()):
            if key.endswith("_hooks") and isinstance(value, dict):
                yield f"the number of hooks in {where}.{key}", len(value)
            elif isinstance(value, bool | int | float | str | tuple | None):
                yield f"{where}.{key}", value


def _fill_cached_properties(instance: object) -> None:
    """Computes what is computed once, so that a value put there later is a replacement."""
    for owner in type(instance).__mro__:
        for key, value in vars(owner).items():
            if isinstance(value, functools.cached_property):
                getattr(instance, key)


def _hooks() -> Iterator[tuple[str, Any]]:
    """Functions that Python itself calls while the harness runs."""
    yield "sys.settrace", sys.gettrace()
    yield "sys.setprofile", sys.getprofile()
    yield "builtins.__import__", builtins.__import__
    callbacks = [c for c in gc.callbacks if not is_function_of_package(c)]
    for number, callback in enumerate(callbacks):
        yield f"gc.callbacks[{number}]", callback


def _running_timers() -> list[str]:
    """Timers that would call a submission's function while the clock is stopped."""
    if not hasattr(signal, "getitimer"):
        return []
    kinds = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    return [
        "a timer of the signal module is running"
        for kind in kinds
        if signal.getitimer(kind) != (0.0, 0.0)
    ]


def _replaced(before: Named, now: Named) -> list[str]:
    found = [
        f"{name} was replaced"
        for name, value in before.items()
        if now.get(name, _MISSING) is not value and not _is_frameworks_own(name, now)
    ]
    # A new name is harmless unless it hides a method or one of Python's own functions.
    return found + [
        f"{name} was added"
        for name in now.keys() - before.keys()
        if _may_hide(name, before)
    ]


def _is_frameworks_own(name: str, now: Named) -> bool:
    """Whether a framework has replaced a function of its own, as PyTorch's compiler does."""
    owner, _, last = name.rpartition(".")
    value = now.get(owner if last in _CODE_PARTS else name)
    package = sys.modules.get(name.partition(".")[0])
    path = getattr(package, "__file__", None)
    code = getattr(value, "__code__", None)
    if name.startswith(_HARNESS) or path is None or not isinstance(code, CodeType):
        return False
    return code.co_filename.startswith(os.path.dirname(path) + os.sep)


def _may_hide(name: str, before: Named) -> bool:
    owner, _, last = name.rpartition(".")
    is_of_class = isinstance(before.get(owner), type)
    is_of_instance = f"{owner}.__class__" in before
    is_of_gc = name.startswith("gc.callbacks")
    return is_of_class or is_of_instance or is_of_gc or hasattr(builtins, last)
