"""Loads a submission by path and checks it against the API before anything is timed."""

import importlib.metadata
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from algoperf import spec
from algoperf.definition import WorkloadDefinition
from algoperf.errors import AlgoPerfError, BadSubmission, MissingDependency, near

# update_params and prepare_for_eval are called with keywords, the others by position, as the
# published harness does; so parameters of the others may have any names.
_CALLED_WITH_KEYWORDS = ("update_params", "prepare_for_eval")


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

        Asked for by the workload's name, then, after a ValueError, by its base workload's; a
        mini workload that the submission does not know gets its definition's own.
        """
        try:
            return self._size_for(definition.name), "submission"
        except ValueError as error:
            if definition.tier == "mini":
                return definition.default_batch_size, f"default of {definition.name}"
            if definition.is_base:
                raise _raised(definition.name, error) from error
        base = definition.base_name
        try:
            return self._size_for(base), f"submission, for {base}"
        except ValueError as error:
            raise _raised(base, error) from error

    def _size_for(self, name: str) -> int:
        """What get_batch_size returns; its ValueError means that it does not know `name`."""
        try:
            size = self.get_batch_size(name)
        except ValueError:
            raise
        except (Exception, SystemExit) as error:
            raise _raised(name, error) from error
        if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
            raise BadSubmission(
                f"get_batch_size({name!r}) returned {size!r}; it must return a positive int."
            )
        return int(size)


def _raised(name: str, error: BaseException) -> BadSubmission:
    return BadSubmission(
        f"get_batch_size({name!r}) raised {type(error).__name__}: {error}. It must return "
        "a positive int; a ValueError says that it does not know a variant."
    )


def load(path: Path) -> Submission:
    """The submission in a Python file; one error names everything that is wrong with it."""
    path = Path(path).resolve()
    if path.is_dir():
        raise BadSubmission(
            f"{path} is a folder; give the submission's Python file, such as "
            f"{path / 'submission.py'}."
        )
    if not path.is_file():
        raise BadSubmission(f"There is no submission file {path}.")
    _check_requirements(path.parent / "requirements.txt")
    module = _import(path)
    problems = check_functions(module)
    if problems:
        raise BadSubmission(
            f"{path} does not follow the submission API:\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )
    functions: dict[str, Any] = {
        name: getattr(module, name, None) for name in spec.SUBMISSION_FUNCTIONS
    }
    parameters = inspect.signature(module.update_params).parameters
    return Submission(path, **functions, takes_train_state="train_state" in parameters)


def check_functions(module: ModuleType) -> list[str]:
    """What is missing or has a wrong signature, one sentence each."""
    problems = []
    for name, (contract, required) in spec.SUBMISSION_FUNCTIONS.items():
        function = getattr(module, name, None)
        if function is None and not required:
            continue
        if not callable(function):
            hint = near(name, vars(module).keys() - {name})
            problems.append(f"the function {name} is missing.{hint}")
            continue
        problem = _signature_problem(name, function, contract)
        if problem:
            problems.append(problem)
    return problems


def _signature_problem(
    name: str, function: Callable[..., Any], contract: type
) -> str | None:
    expected = list(inspect.signature(contract.__call__).parameters)[1:]  # without self
    signature = inspect.signature(function)
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


def _import(path: Path) -> ModuleType:
    """Imports the file as a module of its own; its folder and the current one are importable."""
    for folder in (str(Path.cwd()), str(path.parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    name = f"algoperf_submission_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise BadSubmission(
            f"{path} is not a Python file (expected a name ending in .py)."
        )
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses and pickling look the module up
    try:
        module_spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, AlgoPerfError):
            raise
        raise _import_problem(error, path) from error
    return module


def _import_problem(error: BaseException, path: Path) -> AlgoPerfError:
    if isinstance(error, SyntaxError):
        return BadSubmission(f"{error.filename}, line {error.lineno}: {error.msg}.")
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        kind = type(error).__name__
        where = line_in(error, path)
        return BadSubmission(f"{path} cannot be imported: {kind}: {error}{where}.")
    if error.name.startswith("algoperf."):
        return BadSubmission(f"{path} imports {error.name}, which does not exist.")
    return MissingDependency(
        f"{path} imports {error.name!r}, which is not installed. Install it, and list it "
        f"in {path.parent / 'requirements.txt'} so that others are told."
    )


def line_in(error: BaseException, path: Path) -> str:
    """` (submission.py, line 12)`: the deepest line of the submission's folder."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent == path.parent]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""


def _check_requirements(path: Path) -> None:
    if not path.is_file():
        return
    missing = [
        line
        for line in map(str.strip, path.read_text().splitlines())
        if line and not line.startswith(("#", "-")) and not _is_satisfied(line, path)
    ]
    if missing:
        raise MissingDependency(
            f"{path} asks for {', '.join(missing)}, which is not installed in that version. "
            f"Install it: pip install -r {path}."
        )


def _is_satisfied(line: str, path: Path) -> bool:
    try:
        requirement = Requirement(line.partition(" #")[0].strip())
    except InvalidRequirement as error:
        if "/" in line:
            return True  # a URL or a path: pip's to resolve, with no version to compare
        raise BadSubmission(
            f"{path}: {line!r} is not a requirement ({error})."
        ) from None
    if requirement.marker and not requirement.marker.evaluate():
        return True
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)
