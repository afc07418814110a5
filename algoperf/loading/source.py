"""What a submission's files say without being run: imports, found or missing, and its files."""

import ast
import dataclasses
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from algoperf.errors import BadSubmission
from algoperf.frameworks import FRAMEWORKS, Signs
from algoperf.loading import published
from algoperf.loading.places import (
    ALIAS,
    BENCHMARK,
    Places,
    exists_below,
    is_installed,
    is_mere_folder,
    module_file,
)

_MOST_FILES = 1_000  # of one submission: a dotted path may lead into a large repository
# Whoever uses these may change where Python looks for modules.
_LOOK_UPS = (
    "sys.path",
    "sys.modules",
    "sys.meta_path",
    "sys.path_hooks",
    "site.addsitedir",
)


@dataclass(frozen=True)
class Import:
    """One import statement, or one name of `import a, b`."""

    module: str  # dotted; "" in `from . import x`
    taken: tuple[str, ...]  # what `from` takes
    level: int  # number of leading dots
    line: int
    is_certain: bool  # it is executed whenever the file is imported, and may not fail


@dataclass(frozen=True)
class Missing:
    """A module that a submission imports when it is loaded, and that is nowhere."""

    name: str
    path: Path
    line: int
    is_package: bool  # one could install it
    reason: str


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file; raises `BadSubmission` with file and line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadSubmission(f"{path} cannot be read: {error.strerror}.") from None
    try:
        with warnings.catch_warnings():  # of the file: Python shows them when it is run
            warnings.simplefilter("ignore")
            tree = ast.parse(data, str(path))
            compile(data, str(path), "exec", dont_inherit=True)  # finds more
            return tree
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise syntax_problem(error, path) from None


def syntax_problem(error: BaseException, path: Path) -> BadSubmission:
    """One sentence with file and line for what the parser says."""
    file = Path(getattr(error, "filename", None) or path)
    line = getattr(error, "lineno", None)
    try:
        data = file.read_bytes()
        data.decode("utf-8")
    except OSError:
        pass
    except UnicodeDecodeError as failure:
        if line is None or "codec" in str(error):
            line = data[: failure.start].count(b"\n") + 1
            return BadSubmission(
                f"{file}, line {line}: byte 0x{data[failure.start]:02x} is not UTF-8. Save "
                "the file as UTF-8, or declare its encoding in the first line."
            )
    text = getattr(error, "msg", None) or str(error) or type(error).__name__
    return BadSubmission(f"{file}, line {line or '?'}: {text}.")


def imports(tree: ast.Module) -> list[Import]:
    """All import statements of a file, those inside of functions too."""
    return list(_imports_in(tree, True))


def _imports_in(node: ast.AST, is_certain: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        is_certain = is_certain and not _changes_look_up(child)
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, (), 0, child.lineno, is_certain)
        elif isinstance(child, ast.ImportFrom):
            names = tuple(alias.name for alias in child.names)
            yield Import(
                child.module or "", names, child.level, child.lineno, is_certain
            )
        else:
            # Branches may not be taken, and `try` and `with` may catch that it fails.
            yield from _imports_in(
                child, is_certain and isinstance(child, ast.ClassDef)
            )


def _changes_look_up(tree: ast.AST) -> bool:
    """Whether some part of it names `sys.path` or the like."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if ast.unparse(node) in _LOOK_UPS:
                return True
        elif isinstance(node, ast.ImportFrom):
            taken = {f"{node.module}.{alias.name}" for alias in node.names}
            if taken & set(_LOOK_UPS):
                return True
    return False


class Source:
    """A submission's file and what it imports of its own, parsed once."""

    def __init__(self, path: Path) -> None:
        """`path`: the submission's file, or a link to it; `BadSubmission` if it is not Python."""
        self.path = path.resolve()
        self.places = Places.of(path)
        self._trees: dict[Path, ast.Module] = {self.path: parse(self.path)}

    def files(self) -> list[Path]:
        """The submission's file and all of its own files that it imports, in that order."""
        return [file for file, _ in self._reached(only_certain=False)]

    def roots(self) -> dict[str, Path]:
        """Where the top-level names that the files import lie, if they are the submission's."""
        found: dict[str, Path] = {}
        for _, tree in self._reached(only_certain=False):
            for statement in imports(tree):
                top = statement.module.partition(".")[0]
                root = _root(statement, self.places)
                if root is not None:
                    found.setdefault(top, root)
        return found

    def num_parents(self) -> int:
        """How many folders above the submission's own its relative imports reach."""
        own = self.path.parent
        needed = [0]
        for file, tree in self._reached(only_certain=False):
            if own in file.parents:
                depth = len(file.parent.relative_to(own).parts)
                needed += [i.level - 1 - depth for i in imports(tree) if i.level]
        return min(max(needed), len(own.parents))

    def missing_imports(self) -> list[Missing]:
        """See `missing_imports`."""
        found: dict[tuple[str, Path], Missing] = {}
        knows_all = not any(
            _changes_look_up(tree)
            for file, tree in self._reached(only_certain=False)
            if file != self.path
        )
        for file, tree in self._reached(only_certain=True):
            for statement in imports(tree):
                if statement.is_certain:
                    for missing in _missing(statement, file, self.places):
                        if knows_all or not missing.is_package:
                            found.setdefault((missing.name, missing.path), missing)
        return list(found.values())

    def outdated(self) -> list[published.Outdated]:
        """What the files use that API 0.5 had and 0.6 has not."""
        reached = self._reached(only_certain=False)
        return [
            place for file, tree in reached for place in published.outdated(file, tree)
        ]

    def framework(self) -> str | None:
        """The framework that the files are written for; None where they do not tell."""
        seen = set()
        for _, tree in self._reached(only_certain=False):
            for statement in imports(tree):
                top, *rest = statement.module.split(".")
                is_ours = top in (BENCHMARK, ALIAS) and not statement.level
                seen |= {*rest[:1], *statement.taken} if is_ours else {top}
        signs = {name: known.signs for name, known in FRAMEWORKS.items()}
        for field in dataclasses.fields(Signs):
            told = [n for n, sign in signs.items() if getattr(sign, field.name) & seen]
            if len(told) == 1:
                return told[0]
        return None

    def hidden_files(self) -> dict[str, Path]:
        """Own files that are imported by a bare name which an installed package has too."""
        found: dict[str, Path] = {}
        for file, tree in self._reached(only_certain=False):
            for statement in imports(tree):
                top = statement.module.partition(".")[0]
                if (
                    top
                    and not statement.level
                    and _root(statement, self.places) is None
                ):
                    for folder in self.places.own:
                        own = module_file(folder, top)
                        if own is not None and own != file:
                            found.setdefault(top, own)
        return found

    def _reached(self, *, only_certain: bool) -> Iterator[tuple[Path, ast.Module]]:
        """The submission's own files, from its main one on, with their syntax trees."""
        seen: set[Path] = set()
        waiting = [self.path]
        while waiting and len(seen) < _MOST_FILES:
            file = waiting.pop(0)
            if file in seen:
                continue
            seen.add(file)
            try:
                tree = self._trees.setdefault(
                    file, self._trees.get(file) or parse(file)
                )
            except BadSubmission:
                if only_certain:
                    raise
                continue  # a file that may never be imported
            yield file, tree
            for statement in imports(tree):
                if statement.is_certain or not only_certain:
                    waiting += _own_files(statement, file, self.places)


def missing_imports(path: Path) -> list[Missing]:
    """Modules that a submission imports when it is loaded, and that are not there.

    Nothing is executed. Only imports count that are certain to be executed and whose failure
    nobody catches: none in functions, branches, `try` or `with`, and none after a change of
    `sys.path`. Of installed packages only the top-level name is looked for.
    """
    return Source(path).missing_imports()


def _missing(statement: Import, file: Path, places: Places) -> Iterator[Missing]:
    line = statement.line
    if statement.level:
        yield from _missing_relative(statement, file, places)
        return
    top = statement.module.partition(".")[0]
    if top in (BENCHMARK, ALIAS):
        for name, reason in published.unknown_names(statement.module, statement.taken):
            yield Missing(name, file, line, False, reason)
    elif not is_installed(top) and _root(statement, places) is None:
        root = places.root_of(top) or places.root_of_top(top)
        if root is not None and "." in statement.module:
            reason = f"there is no such file below {root}"
            yield Missing(statement.module, file, line, False, reason)
        else:
            yield Missing(top, file, line, True, "it is not installed")


def _missing_relative(
    statement: Import, file: Path, places: Places
) -> Iterator[Missing]:
    dots = "." * statement.level
    base = _base_of(statement.level, file)
    folders = places.own if base in places.own else (base,)
    if statement.module:
        if not any(
            exists_below(folder, statement.module, statement.taken)
            or (folder.joinpath(*statement.module.split("."))).is_dir()
            for folder in folders
        ):
            reason = f"there is no such file in {base}"
            yield Missing(dots + statement.module, file, statement.line, False, reason)
        return
    if any((folder / "__init__.py").is_file() for folder in folders):
        return  # which may define anything
    for name in statement.taken:
        is_there = any(
            module_file(f, name) or (f / name).is_dir() or name == "*" for f in folders
        )
        if not is_there:
            reason = f"there is no such file in {base}"
            yield Missing(dots + name, file, statement.line, False, reason)


def _base_of(level: int, file: Path) -> Path:
    """The folder that so many leading dots mean in a file."""
    return file.parents[min(level, len(file.parents)) - 1]


def _root(statement: Import, places: Places) -> Path | None:
    """The folder below which an absolute import finds a file of the submission."""
    top = statement.module.partition(".")[0]
    if statement.level or not top or top in (BENCHMARK, ALIAS):
        return None
    if is_installed(top) and not is_mere_folder(top):
        return None
    return places.root_of(statement.module, statement.taken)


def _own_files(statement: Import, file: Path, places: Places) -> Iterator[Path]:
    """The submission's files that a statement imports: of each package on the way."""
    if statement.level:
        base = _base_of(statement.level, file)
        folders = places.own if base in places.own else (base,)
    else:
        root = _root(statement, places)
        folders = () if root is None else (root,)
    parts = statement.module.split(".") if statement.module else []
    names = [".".join(parts[: n + 1]) for n in range(len(parts))]
    names += [".".join([*parts, taken]) for taken in statement.taken if taken != "*"]
    for folder in folders:
        for name in names:
            found = module_file(folder, name)
            if found is not None and found.suffix == ".py":
                yield found.resolve()
