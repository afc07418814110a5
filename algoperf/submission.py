"""Loads a submission by path and checks it against the API before anything is timed."""

import functools
import inspect
import operator
import os
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from algoperf import spec
from algoperf.about import read_about
from algoperf.definition import WorkloadDefinition
from algoperf.errors import AlgoPerfError, BadSubmission, MissingDependency, near
from algoperf.loading import places, published, requirements
from algoperf.loading.blame import describe, is_interrupt, line_in
from algoperf.loading.importing import Imports
from algoperf.loading.source import Missing, Source, missing_imports, syntax_problem

__all__ = [
    "Submission",
    "UnknownBatchSize",
    "check_functions",
    "check_source",
    "describe",
    "is_interrupt",
    "line_in",
    "load",
    "missing_imports",
]

# update_params and prepare_for_eval are called with keywords, the others by position, as the
# published harness does; so parameters of the others may have any names.
_CALLED_WITH_KEYWORDS = ("update_params", "prepare_for_eval")
# What get_batch_size may raise for a name that it does not know: of its own accord, or from a
# look-up in a dict or a list.
_UNKNOWN = (ValueError, LookupError, NotImplementedError)
# Packages that are installed by another name than they are imported by.
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


class UnknownBatchSize(BadSubmission):
    """`get_batch_size` has no answer for a workload's name."""


@dataclass(frozen=True)
class Submission:
    """The functions of a loaded submission."""

    path: Path
    get_batch_size: Callable[..., int]
    init_optimizer_state: Callable[..., Any]
    update_params: Callable[..., Any]
    data_selection: Callable[..., Any]
    prepare_for_eval: Callable[..., Any] | None
    takes_train_state: bool  # update_params has a parameter of that name

    def batch_size(self, definition: WorkloadDefinition) -> tuple[int, str]:
        """The training batch size and where it comes from.

        Asked for by the workload's name, then, where that is unknown, by its base workload's. The
        name of a mini workload, or of a problem of DeepOBS, is unknown whatever is raised; it
        gets its definition's own size.
        """
        knows_own = definition.tier in ("mini", "deepobs")
        try:
            return self._size_for(definition.name), "submission"
        except UnknownBatchSize:
            if knows_own:
                return definition.default_batch_size, f"default of {definition.name}"
            if definition.is_base:
                raise
        except BadSubmission as error:
            if knows_own and error.__cause__ is not None:
                return definition.default_batch_size, f"default of {definition.name}"
            raise
        base = definition.base_name
        return self._size_for(base), f"submission, for {base}"

    def _size_for(self, name: str) -> int:
        """What get_batch_size returns; `UnknownBatchSize` says that it does not know `name`."""
        try:
            size = self.get_batch_size(name)
        except BaseException as error:
            if is_interrupt(error, self.path.parent):
                raise
            kind = UnknownBatchSize if isinstance(error, _UNKNOWN) else BadSubmission
            raise kind(
                f"get_batch_size({name!r}) raised {describe(error)}"
                f"{line_in(error, self.path)}. It must return a positive int; a ValueError "
                "says that it does not know a variant."
            ) from error
        number = _as_positive_int(size)
        if number is None:
            kind = UnknownBatchSize if size is None else BadSubmission
            raise kind(
                f"get_batch_size({name!r}) returned {_shown(size)}; it must return a positive "
                "int."
            )
        return number


def _as_positive_int(value: Any) -> int | None:
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except Exception:  # a float, a string, an array of several numbers
        return None
    return number if number is not None and number >= 1 else None


def _shown(value: object) -> str:
    try:
        return reprlib.repr(value)
    except Exception:
        return f"a {type(value).__name__}"


def check_source(path: Path) -> Source:
    """What can be said about a submission without running it; raises what is wrong.

    `BadSubmission`: no such file, no Python, a file of its own or of the benchmark that does not
    exist, a wrong `submission.toml`. `MissingDependency`: a package that is not installed. Needs
    no framework.
    """
    path = Path(path)
    _check_path(path)
    source = Source(path)
    requirements.check(source.path.parent)
    read_about(source.path.parent)
    missing = source.missing_imports()
    if missing:
        raise _missing_problem(missing, source)
    return source


def _check_path(path: Path) -> None:
    try:
        if path.is_dir():
            files = sorted(path.glob("submission*.py")) or [path / "submission.py"]
            raise BadSubmission(
                f"{path} is a folder; give the submission's Python file, such as {files[0]}."
            )
        if not path.exists():
            raise BadSubmission(f"There is no submission file {path}.")
        if not path.is_file():
            raise BadSubmission(f"{path} is no regular file; give a Python file.")
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long
        raise BadSubmission(f"{path} cannot be read: {error}.") from None
    if path.suffix != ".py":
        raise BadSubmission(
            f"{path} is not a Python file (expected a name ending in .py)."
        )
    if not os.access(path, os.R_OK):
        raise BadSubmission(
            f"{path} cannot be read: permission denied. Change it with chmod."
        )


def _missing_problem(missing: list[Missing], source: Source) -> AlgoPerfError:
    first = missing[0]
    advice = published.advice(source.outdated())
    where = f"{first.path}, line {first.line}"
    packages = [found.name for found in missing if found.is_package]
    if not first.is_package:
        return BadSubmission(
            f"{where} imports {first.name!r}, but {first.reason}.{advice}"
        )
    more = f" Missing too: {', '.join(packages[1:])}." if packages[1:] else ""
    folder = source.path.parent
    names = " ".join(_DISTRIBUTIONS.get(name, name) for name in packages)
    return MissingDependency(
        f"{where} imports {first.name!r}, which is not installed, and no file of that name "
        f"is in {folder}.{more} Install it: pip install {names}; and list it in "
        f"{folder / requirements.FILE} so that others know.{advice}"
    )


def load(path: Path) -> Submission:
    """The submission in a Python file; one error names everything that is wrong with it."""
    source = check_source(path)
    path = source.path
    imports = Imports(source)
    try:
        module = imports.load()
        problems = check_functions(module)
        functions = {name: _value(module, name) for name in spec.SUBMISSION_FUNCTIONS}
    except BaseException as error:
        if isinstance(error, AlgoPerfError) or is_interrupt(error, path.parent):
            raise
        raise _import_problem(error, source) from error
    if problems:
        raise BadSubmission(
            f"{path} does not follow the submission API:\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )
    parameters = _parameters(functions["update_params"])
    ready: dict[str, Any] = {
        name: None if function is None else _with_own_modules(function, imports)
        for name, function in functions.items()
    }
    return Submission(path, **ready, takes_train_state="train_state" in parameters)


def _value(module: ModuleType, name: str) -> Any:
    return getattr(module, name, None)


def _with_own_modules(
    function: Callable[..., Any], imports: Imports
) -> Callable[..., Any]:
    """The function; what it imports when it is called comes from its own submission."""

    @functools.wraps(function, updated=())
    def call(*arguments: Any, **keywords: Any) -> object:
        imports.activate()
        return function(*arguments, **keywords)

    return call


def check_functions(module: ModuleType) -> list[str]:
    """What is missing or has a wrong signature, one sentence each."""
    problems = []
    for name, (contract, required) in spec.SUBMISSION_FUNCTIONS.items():
        function = _value(module, name)
        if function is None and not required:
            continue
        if not callable(function):
            hint = near(name, vars(module).keys() - {name})
            problems.append(f"the function {name} is missing.{hint}")
            continue
        problem = _kind_problem(name, function) or _signature_problem(
            name, function, contract
        )
        if problem:
            problems.append(problem)
    return problems


def _kind_problem(name: str, function: Callable[..., Any]) -> str | None:
    """A callable that returns something else than its value when it is called."""
    code = function if inspect.isroutine(function) else type(function).__call__
    kinds = {
        "a class": inspect.isclass(function),
        "an async function": any(map(inspect.iscoroutinefunction, (function, code))),
        "a generator (it contains `yield`)": any(
            map(inspect.isgeneratorfunction, (function, code))
        ),
        "an async generator": any(map(inspect.isasyncgenfunction, (function, code))),
    }
    wrong = next((kind for kind, applies in kinds.items() if applies), None)
    return (
        wrong and f"{name} is {wrong}; it must be a function that returns its result."
    )


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """By name; none for callables of native code, which cannot be looked into."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def _signature_problem(
    name: str, function: Callable[..., Any], contract: type
) -> str | None:
    expected = list(inspect.signature(contract.__call__).parameters)[1:]  # without self
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None  # native code
    if name in _CALLED_WITH_KEYWORDS:
        arguments: tuple[str, ...] = ()
        keywords: dict[str, None] = dict.fromkeys(expected)
        if "train_state" in signature.parameters:
            keywords["train_state"] = None
    else:
        arguments, keywords = tuple(expected), {}
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as error:
        return f"{name}{signature} cannot be called ({error}); it needs ({', '.join(expected)})."
    return None


def _import_problem(error: BaseException, source: Source) -> AlgoPerfError:
    path, advice = source.path, published.advice(source.outdated())
    if isinstance(error, SyntaxError):
        return syntax_problem(error, path)
    where = line_in(error, path)
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        hidden = _hidden_file(error, source)
        return BadSubmission(
            f"{path} cannot be imported: {describe(error)}{where}.{hidden}{advice}"
        )
    if error.name.partition(".")[0] in (places.BENCHMARK, places.ALIAS):
        package, *parts = error.name.split(".")
        return BadSubmission(
            f"{path} imports {error.name!r}{where}, but "
            f"{published.reason_for(package, parts)}.{advice}"
        )
    name = _DISTRIBUTIONS.get(error.name, error.name)
    return MissingDependency(
        f"{path} imports {error.name!r}{where}, which is not installed. Install it: pip "
        f"install {name.partition('.')[0]}; and list it in "
        f"{path.parent / requirements.FILE} so that others know.{advice}"
    )


def _hidden_file(error: BaseException, source: Source) -> str:
    """Says that an installed package was taken for a file of the submission."""
    name = getattr(error, "name", None)
    top = name.partition(".")[0] if isinstance(name, str) else ""
    hidden = source.hidden_files().get(top)
    return (
        f" {top!r} is an installed package, which comes before {hidden}: rename the file, or "
        f"import it relatively (from . import {top})."
        if hidden
        else ""
    )
