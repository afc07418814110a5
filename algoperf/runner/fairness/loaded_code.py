"""All Python code that is loaded before a submission is: what of it was replaced since.

Frameworks, the standard library's modules that the harness uses, and their classes: some ten
thousand functions. Comparing dictionaries in C finds in milliseconds those that differ at all;
only these are looked at one by one.
"""

import builtins
import contextlib
import functools
import os
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from algoperf.frameworks import code_of_all
from algoperf.loading.places import is_submissions
from algoperf.runner.fairness.packages import is_function_of_package

# Of the standard library: what the harness calls while the clock stands still.
_STANDARD = {
    "_csv _thread abc array base64 bisect builtins codecs collections concurrent contextlib "
    "copy copyreg csv dataclasses datetime decimal encodings enum fcntl fractions functools "
    "gc genericpath hashlib heapq importlib inspect io itertools json marshal math mmap ntpath "
    "operator os pathlib pickle posix posixpath queue random re resource select selectors "
    "shutil signal stat statistics string struct subprocess tempfile threading time types "
    "typing uuid weakref zlib"
}
_STANDARD = {name for names in _STANDARD for name in names.split()}
# People replace functions of these to be told less or more; no evaluation calls them.
_FREE = {
    *{"absl", "IPython", "logging", "matplotlib", "mlflow", "pandas", "pygments"},
    *{"pyparsing", "rich", "tensorboard", "tqdm", "wandb", "warnings"},
}
# They change themselves as they work; what they compile is the submission's.
_COMPILERS = code_of_all("self_changing")
_HARNESS = "algoperf"
_MAX_TABLE = 100_000
_MAX_FOUND = 20
# Python keeps these in classes as it goes.
_BOOKKEEPING = {"__annotations__", "__slotnames__", "__abstractmethods__", "_abc_impl"}
_MISSING = object()

_last: "LoadedCode | None" = None


class LoadedCode:
    """A picture of all loaded modules, their classes and their functions."""

    def __init__(self) -> None:
        self._modules = dict(_watched_modules())
        self._globals = {name: dict(vars(m)) for name, m in self._modules.items()}
        classes = _members(self._globals, type)
        self._classes = {k: v for k, v in classes.items() if _is_watched(_module_of(v))}
        self._members = {name: dict(vars(c)) for name, c in self._classes.items()}
        functions = _members(self._globals, FunctionType)
        functions |= _members(self._members, FunctionType)
        self._functions = functions
        self._codes = self._parts()
        self._tables = {
            name: (table, dict(table)) for name, table in _tables(self._globals)
        }
        primitives = {
            id(key): key
            for _, before in self._tables.values()
            for key in before
            if type(key).__name__ == "Primitive"
        }
        self._primitives = [(p, dict(vars(p))) for p in primitives.values()]
        self._keys = {id(k) for _, before in self._tables.values() for k in before}

    @classmethod
    def now(cls) -> "LoadedCode":
        """A picture of this moment; the last one where nothing has changed since."""
        global _last
        if _last is None or not _last._is_of_now():
            _last = cls()
        return _last

    def _is_of_now(self) -> bool:
        modules = dict(_watched_modules())
        return modules == self._modules and not self.find()

    def find(self) -> list[str]:
        """A sentence for each function, method or rule that is not what it was."""
        found = list(self._replaced_modules())
        for name, module in self._modules.items():
            if not _is_same(vars(module), self._globals[name]):
                found += _changed(name, self._globals[name], vars(module))
        for name, owner in self._classes.items():
            if not _is_same(vars(owner), self._members[name]):
                found += _changed_class(name, owner, self._members[name])
        codes = self._parts()
        if not _is_same(codes, self._codes):
            found += self._changed_functions(codes)
        for name, (table, before) in self._tables.items():
            if not _is_same(table, before):
                found += self._changed_rules(name, table, before)
        for primitive, before in self._primitives:
            if not _is_same(vars(primitive), before):
                name = f"primitive {primitive}"
                found += _changed(name, before, vars(primitive))
                new = vars(primitive).keys() - before.keys()
                kind = type(primitive)
                found += [f"{name}.{k} was added" for k in new if hasattr(kind, k)]
        return list(dict.fromkeys(found))[:_MAX_FOUND]

    def _replaced_modules(self) -> Iterator[str]:
        for name, module in self._modules.items():
            if sys.modules.get(name, module) is not module:
                yield f"module {name} was replaced"

    def _parts(self) -> list[Any]:
        functions = self._functions.values()
        codes: list[Any] = [function.__code__ for function in functions]
        return codes + [function.__defaults__ for function in functions]

    def _changed_functions(self, parts: list[Any]) -> Iterator[str]:
        names = list(self._functions) * 2
        for name, now, before in zip(names, parts, self._codes, strict=True):
            if now is not before:
                what = "code" if isinstance(before, CodeType) else "defaults"
                yield f"the {what} of {name} was replaced"

    def _changed_rules(
        self, name: str, table: Mapping[Any, Any], before: Mapping[Any, Any]
    ) -> Iterator[str]:
        for key, rule in before.items():
            if table.get(key, _MISSING) is not rule:
                yield f"the rule for {str(key)[:60]} in {name} was replaced"
        for key in table.keys() - before.keys():
            # An own primitive has rules of its own; one that was there already had them all.
            if id(key) in self._keys and type(key).__name__ == "Primitive":
                yield f"a rule for {str(key)[:60]} was added to {name}"


def _watched_modules() -> Iterator[tuple[str, ModuleType]]:
    for name, module in list(sys.modules.items()):
        if (
            _is_watched(name)
            and isinstance(module, ModuleType)
            and not is_submissions(module)
        ):
            yield name, module


def _is_watched(name: str) -> bool:
    """Standard modules of the list, and installed packages but those of `_FREE`."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return top in _STANDARD
    # The harness's own modules and the workload's have guards that are stricter.
    return top not in _FREE and not top.startswith(
        (_HARNESS, "__main__", "__mp_main__")
    )


def _module_of(owner: type) -> str:
    name = type.__dict__["__module__"].__get__(owner)
    return name if isinstance(name, str) else ""


def _members(owners: Mapping[str, Mapping[str, Any]], kind: type) -> dict[str, Any]:
    """Everything of a kind, each once, under the first name that it has."""
    found: dict[int, tuple[str, Any]] = {}
    for owner, members in owners.items():
        for key, value in members.items():
            function = _function_of(value) if kind is FunctionType else value
            if issubclass(type(function), kind) and id(function) not in found:
                found[id(function)] = f"{owner}.{key}", function
    return dict(found.values())


def _tables(owners: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Dictionaries of rules: what a framework does for which operation or type."""
    for owner, members in owners.items():
        for key, value in members.items():
            if not issubclass(type(value), dict) or not 0 < len(value) < _MAX_TABLE:
                continue
            if key.startswith("__"):
                continue
            if isinstance(next(iter(value.values())), dict):
                for inner, table in list(value.items()):
                    if isinstance(table, dict) and _holds_rules(table):
                        yield f"{owner}.{key}[{inner!r}]", table
            elif _holds_rules(value):
                yield f"{owner}.{key}", value


def _holds_rules(table: Mapping[Any, Any]) -> bool:
    """Whether it says what to do for which operation or type, not for which name."""
    if not table or any(isinstance(key, str) for key in table):
        return False
    is_of_primitives = any(type(key).__name__ == "Primitive" for key in table)
    return is_of_primitives or any(callable(rule) for rule in list(table.values())[:3])


def _is_same(now: Any, before: Any) -> bool:
    """Fast: members that are identical are not asked whether they are equal."""
    try:
        return bool(now == before)
    except Exception:  # members that cannot be compared
        return False


def _changed(
    owner: str, before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[str]:
    for key, value in before.items():
        new = now.get(key, _MISSING)
        if new is value or not _is_code(value):
            continue
        if not _may_be_replaced(owner, value, new):
            yield f"{owner}.{key} was replaced"
    for key in now.keys() - before.keys():
        if hasattr(builtins, key) and callable(now[key]):
            yield f"{owner}.{key} was added"


def _changed_class(name: str, owner: type, before: Mapping[str, Any]) -> Iterator[str]:
    now = vars(owner)
    for key, value in before.items():
        new = now.get(key, _MISSING)
        if new is value or key in _BOOKKEEPING or not _is_code(value):
            continue
        if not _may_be_replaced(name, value, new):
            yield f"{name}.{key} was replaced"
    for key in now.keys() - before.keys() - _BOOKKEEPING:
        hides = any(key in vars(base) for base in owner.__mro__[1:])
        if hides and _is_code(now[key]) and not _may_be_replaced(name, None, now[key]):
            yield f"{name}.{key} was added"


def _is_code(value: Any) -> bool:
    kind = type(value)
    is_code = callable(value) or issubclass(kind, ModuleType)
    return is_code or hasattr(kind, "__get__")


def _may_be_replaced(owner: str, before: Any, now: Any) -> bool:
    """Whether a package has replaced what is its own, under the same name.

    Modules that are loaded when first used take the place of what stood for them.
    """
    top = owner.partition(".")[0]
    if type(now) is functools.partial and _holds_text_only(now):
        now = now.func  # such as PyTorch's methods that say what is not there
    if isinstance(now, ModuleType):
        return sys.modules.get(now.__name__) is now and not is_submissions(now)
    if isinstance(now, type):
        home = sys.modules.get(_module_of(now))
        is_found = home is not None and vars(home).get(now.__name__) is now
        return is_found and _module_of(now).partition(".")[0] == top
    if owner.startswith(_COMPILERS):
        return not is_submissions(sys.modules.get(getattr(now, "__module__", "") or ""))
    before, now = _function_of(before), _function_of(now)
    if top in sys.stdlib_module_names:
        return is_function_of_package(now)
    if not isinstance(now, FunctionType) or not _is_code_of(now, top):
        return False
    if before is None or now.__name__ == getattr(before, "__name__", None):
        return is_function_of_package(now) or _is_wrapper(now, before, top)
    held = [cell.cell_contents for cell in now.__closure__ or ()]
    return any(value is before for value in held) and _is_wrapper(now, before, top)


def _function_of(member: Any) -> Any:
    """The function in a property or a static or class method."""
    if type(member) is property:
        return member.fget
    is_method = type(member) in (staticmethod, classmethod)
    return member.__func__ if is_method else member


def _holds_text_only(partial: functools.partial[Any]) -> bool:
    held = (*partial.args, *partial.keywords.values())
    return all(type(value) is str for value in held)


def _is_code_of(function: FunctionType, top: str) -> bool:
    """Whether a function's code was written in the package of that name."""
    path = getattr(sys.modules.get(top), "__file__", None)
    folder = os.path.dirname(path) + os.sep if path else os.sep
    return path is not None and function.__code__.co_filename.startswith(folder)


def _is_wrapper(function: FunctionType, before: Any, top: str) -> bool:
    """Whether it holds nothing to call but what was there before and its package's own.

    PyTorch's compiler puts such functions around what it does not compile.
    """
    held = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # a variable without a value
            held.append(cell.cell_contents)
    for value in held:
        is_own = isinstance(value, FunctionType) and _is_code_of(value, top)
        if callable(value) and value is not before and not is_own:
            kind = value if isinstance(value, type) else type(value)
            if _module_of(kind).partition(".")[0] not in (top, "builtins"):
                return False
    return True
