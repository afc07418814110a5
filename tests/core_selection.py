"""Which test files belong to the core: `pytest --core`, and with it `make test-core`.

A file belongs to it unless it imports, itself or through helpers in its folder, a framework, a
wing or a backend, or what starts processes. It is derived from the imports, so that no list has
to be kept.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

FRAMEWORKS = ("jax", "jaxlib", "flax", "optax", "jraph", "torch")
_TESTS = Path(__file__).parent
_BEYOND = (
    *FRAMEWORKS,
    *(f"algoperf.{wing}" for wing in ("workloads", "datasets", "scoring")),
    "algoperf.reference_algorithms",
    "algoperf.jax_backend",
    "algoperf.pytorch_backend",
    "algoperf.jax_sharding_utils",
    "algoperf.pytorch_utils",
    "multiprocessing",
    "scipy",  # it asks for torch wherever its name is known
    "subprocess",
)
_IN_PROCESSES = (
    "toy_in_processes"  # the fixture that runs trials in processes of their own
)
_SKIPPING = ("importorskip", "import_module")  # their first argument is a module's name


def is_core(path: Path) -> bool:
    """Whether a test file needs nothing but the core."""
    if _arguments(path) & _fixtures_that_start_processes(path.parent / "conftest.py"):
        return False
    seen, left = set(), [path]
    while left:
        file = left.pop()
        seen.add(file)
        names = _names(file)
        if any(
            name == b or name.startswith(f"{b}.") for name in names for b in _BEYOND
        ):
            return False
        folders = (file.parent, _TESTS, _TESTS / "toy")
        helpers = {
            f / f"{name.rpartition('.')[2]}.py" for name in names for f in folders
        }
        left += [helper for helper in helpers - seen if helper.is_file()]
    return True


@functools.cache
def _fixtures_that_start_processes(conftest: Path) -> frozenset[str]:
    found = {_IN_PROCESSES}
    if conftest.is_file():
        for name, arguments in _functions(conftest):
            if found & arguments:
                found.add(name)
    return frozenset(found)


def _arguments(file: Path) -> set[str]:
    return {name for _, arguments in _functions(file) for name in arguments}


def _functions(file: Path) -> Iterator[tuple[str, set[str]]]:
    """Names and arguments of all functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node.name, {argument.arg for argument in node.args.args}


@functools.cache
def _names(file: Path) -> frozenset[str]:
    return frozenset(imported(ast.parse(file.read_text())))


def imported(tree: ast.AST) -> Iterator[str]:
    """The names of modules that are imported anywhere in a file, also within functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            function = node.func
            name = getattr(function, "attr", getattr(function, "id", None))
            first = node.args[0]
            if name in _SKIPPING and isinstance(first, ast.Constant):
                yield str(first.value)
