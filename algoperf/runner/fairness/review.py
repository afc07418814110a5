"""Hints for reviewers: places in a submission's files that look like a look-up by workload.

Read from the source, nothing is run. A hint is no verdict, and no hint is no acquittal.
"""

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from algoperf.errors import AlgoPerfError
from algoperf.loading import published
from algoperf.loading.source import Source
from algoperf.runner.fairness.environment import is_protected

_PUBLIC = ("spec", "jax_sharding_utils", "pytorch_utils")
_FINGERPRINTS = (  # facts that give a workload away when compared with a number
    "shape",
    "shape_tuple",
    "param_shapes",
    "step_hint",
    "max_allowed_runtime_sec",
    "num_train_examples",
    "num_validation_examples",
    "num_test_examples",
    "eval_batch_size",
    "validation_target_value",
    "test_target_value",
)
_SMALL = 8  # a rule may well say "fewer than 2 axes" or "up to 3 channels"
_MODULES = {
    "socket": "the network",
    "urllib": "the network",
    "requests": "the network",
    "http": "the network",
    "subprocess": "other programs",
    "multiprocessing": "other processes",
    "threading": "threads",
    "concurrent": "threads or processes",
    "asyncio": "threads or processes",
    "_thread": "threads",
    "signal": "signals and timers",
    "ctypes": "native code",
    "gc": "objects that were not handed over",
    "inspect": "objects that were not handed over",
}


# Functions that read arrays or tables, by their last name. (Reading text, such as a list of
# points in one's own folder, is usual; files of the data are watched when it runs.)
_READERS = ("load", "load_file", "loadtxt", "memmap", "read_csv", "read_parquet")
_SETTERS = (
    "jax.config.update",
    "torch.set_default_dtype",
    "torch.use_deterministic_algorithms",
)
_SETTINGS = ("torch.backends.", "jax.config.")
# Settings that RULES.md lets a submission choose.
_FREE_SETTINGS = (
    "torch.backends.cudnn.allow_tf32",
    "torch.backends.cudnn.benchmark",
    "torch.backends.cudnn.deterministic",
    "torch.backends.cuda.matmul.allow_tf32",
)
_FREE_IN_JAX = (
    "jax_explain_cache_misses",
    "jax_log_compiles",
    "jax_threefry_partitionable",
    "jax_traceback_filtering",
)


@dataclass(frozen=True)
class Hint:
    """A place and what is remarkable about it."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}: {self.text}"


def hints(submission: Path, workload_names: Collection[str]) -> list[Hint]:
    """Remarkable places in all Python files of a submission's folder.

    Batch sizes by workload name are allowed, so `get_batch_size` and the tables that only it
    reads are left out.
    """
    found = []
    for path in sorted(submission.resolve().parent.rglob("*.py")):
        try:
            tree = ast.parse(path.read_text("utf-8"))
        except (SyntaxError, ValueError):
            continue  # loading the submission tells it
        found += [Hint(path, *place) for place in _remarkable(tree, workload_names)]
        found += [
            Hint(path, place.line, f"{place.name} is of API 0.5: {place.remedy}")
            for place in published.outdated(path, tree)
        ]
    return [*found, *_hidden_files(submission)]


def _hidden_files(submission: Path) -> Iterator[Hint]:
    """Files of the submission for which an installed package is taken."""
    try:
        hidden = Source(submission).hidden_files()
    except AlgoPerfError:
        return  # loading the submission tells it
    for name, path in sorted(hidden.items()):
        yield Hint(
            path,
            1,
            f"has the name of an installed package or of a module of Python: `import {name}` "
            "takes that one, not this file",
        )


def _remarkable(tree: ast.Module, names: Collection[str]) -> Iterator[tuple[int, str]]:
    allowed = set(_nodes_of_batch_sizes(tree))
    imported = set(_imported_names(tree))
    variables = dict(_set_variables(tree))
    seen = set()
    for node in ast.walk(tree):
        if node in allowed or (node in variables and not is_protected(variables[node])):
            continue
        for text in (*_texts(node, names), *_about_change(node, imported)):
            place = (getattr(node, "lineno", 1), text)
            if place not in seen:
                seen.add(place)
                yield place


def _set_variables(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every `os.environ` that only serves to set a variable, and the variable's name."""
    for node in ast.walk(tree):
        environ, name = None, None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            environ, name = node.value, node.slice
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            function, arguments = node.value.func, node.value.args
            if isinstance(function, ast.Attribute) and function.attr == "setdefault":
                environ, name = function.value, arguments[0] if arguments else None
        if (
            environ is not None
            and ast.unparse(environ) == "os.environ"
            and isinstance(name, ast.Constant)
            and isinstance(name.value, str)
        ):
            yield environ, name.value


def _imported_names(tree: ast.Module) -> Iterator[str]:
    """The names that import statements bind."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]


def _nodes_of_batch_sizes(tree: ast.Module) -> Iterator[ast.AST]:
    """Everything in `get_batch_size`, and in constants of the module that nothing else reads."""
    functions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == "get_batch_size"
    ]
    inside = {node for function in functions for node in ast.walk(function)}
    outside = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Load)
        and node not in inside
    }
    yield from inside
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and functions:
            targets = (
                statement.targets
                if isinstance(statement, ast.Assign)
                else [statement.target]
            )
            if all(isinstance(t, ast.Name) and t.id not in outside for t in targets):
                yield from ast.walk(statement)


def _texts(node: ast.AST, names: Collection[str]) -> Iterator[str]:
    if isinstance(node, ast.Constant) and node.value in names:
        yield f"names the workload {node.value!r} outside get_batch_size"
    elif isinstance(node, ast.Attribute):
        yield from _about_attribute(node)
    elif isinstance(node, ast.Compare):
        yield from _about_comparison(node)
    elif isinstance(node, ast.Call):
        yield from _about_call(node)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            yield from _about_import(alias.name)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        for alias in node.names:
            yield from _about_import(f"{node.module}.{alias.name}")


def _about_attribute(node: ast.Attribute) -> Iterator[str]:
    owner = node.value.id if isinstance(node.value, ast.Name) else ""
    if owner == "workload" and (
        node.attr.startswith("_") or node.attr in ("name", "definition")
    ):
        yield f"reads workload.{node.attr}, which is not in the submission API"
    if (owner, node.attr) in (("os", "environ"), ("os", "getenv")):
        yield f"reads or changes the environment (os.{node.attr})"
    is_changed = isinstance(node.ctx, ast.Store | ast.Del)
    if is_changed and owner == "workload":
        yield f"changes {owner}.{node.attr}"


def _about_call(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    if name.rpartition(".")[2] in _READERS:
        yield f"reads a file ({name})"
    is_free = bool(node.args) and _is_constant(node.args[0], _FREE_IN_JAX)
    if name in _SETTERS and not is_free:
        yield f"changes a setting of the whole process ({name})"


def _is_constant(node: ast.AST, values: Collection[str]) -> bool:
    return isinstance(node, ast.Constant) and node.value in values


def _about_change(node: ast.AST, imported: Collection[str]) -> Iterator[str]:
    """Attributes of what was imported that are set: a setting, or a replaced function."""
    target: ast.AST | None = None
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        target = node
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
        "setattr",
        "delattr",
    ):
        target = node.args[0] if node.args else None
    root = target
    while isinstance(root, ast.Attribute):
        root = root.value
    if target is None or not isinstance(root, ast.Name) or root.id not in imported:
        return
    name = ast.unparse(target)
    if name in _FREE_SETTINGS:
        return
    if name.startswith(_SETTINGS):
        yield f"changes a setting of the whole process ({name})"
    else:
        yield f"changes {name}, which it has imported"


def _about_comparison(node: ast.Compare) -> Iterator[str]:
    sides = [node.left, *node.comparators]
    facts = {
        part.attr
        for side in sides
        for part in ast.walk(side)
        if isinstance(part, ast.Attribute) and part.attr in _FINGERPRINTS
    }
    numbers = [
        part.value
        for side in sides
        for part in ast.walk(side)
        if isinstance(part, ast.Constant)
        and isinstance(part.value, int | float)
        and abs(part.value) > _SMALL
    ]
    if facts and numbers:
        yield (
            f"compares {', '.join(sorted(facts))} with {numbers[0]}: a rule, or a "
            "fingerprint of a workload?"
        )


def _about_import(name: str) -> Iterator[str]:
    root, *rest = name.split(".")
    if root in _MODULES:
        yield f"imports {root}: uses {_MODULES[root]}?"
    is_ours = root == "algoperf" and rest
    if is_ours and rest[0] not in (*_PUBLIC, "reference_algorithms"):
        yield f"imports algoperf.{rest[0]}, which is not public to submissions"
