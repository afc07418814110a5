"""Imports a submission's files as modules of its own, without touching `sys.path`.

All files of the submission's folder become modules of one package, `algoperf_submission`; so
they may import each other relatively (`from . import x`), by their bare names (`import x`) and
by dotted paths below any parent folder (`from submissions.me.x import y`), and are executed
once. Two submissions in one process keep their modules apart: those of one are in
`sys.modules`, and `activate` exchanges them.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from algoperf.loading import published
from algoperf.loading.places import ALIAS, BENCHMARK, module_file
from algoperf.loading.source import Source

PACKAGE = "algoperf_submission"


class _SourceLoader(SourceFileLoader):
    """Loads a file of a submission."""

    is_for_submissions = True


class _Benchmark(ModuleType):
    """`algorithmic_efficiency`: the public modules of the benchmark under their old name."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return importlib.import_module(f"{ALIAS}.{name}")  # or says what there is


class _BenchmarkLoader:
    """Makes the package of that name, which has no file."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Benchmark(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to execute."""


class _AliasLoader:
    """Hands on a module under another name."""

    is_for_submissions = True

    def __init__(self, name: str) -> None:
        self._name = name
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # importlib has put that of the alias there


class _First:
    """Finds what must come before installed packages: the alias and parts of own packages."""

    is_for_submissions = True

    def __init__(self, imports: "Imports") -> None:
        self._imports = imports

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        top, *rest = name.split(".")
        if top == ALIAS:
            return _alias_of_benchmark(rest)
        if name in self._imports.chain or name == self._imports.main:
            return self._imports.own_spec(name)
        if rest and top in self._imports.tops and path is not None:
            return self._imports.spec_in(name, [str(folder) for folder in path])
        if name in self._imports.roots and _is_asked_by_submission():
            return self._imports.top_spec(name)
        return None


class _Last:
    """Finds top-level names that are nowhere else among the submission's files."""

    is_for_submissions = True

    def __init__(self, imports: "Imports") -> None:
        self._imports = imports

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        # Packages that look for others, to adapt to them, must find no folder of that name.
        if "." in name or not _is_asked_by_submission():
            return None
        return self._imports.top_spec(name)


def _alias_of_benchmark(parts: list[str]) -> ModuleSpec:
    if not parts:
        return _spec(ALIAS, _BenchmarkLoader(), is_package=True)
    name = ".".join([ALIAS, *parts])
    if len(parts) > 1 or parts[0] not in published.PUBLIC:
        raise ModuleNotFoundError(published.reason_for(ALIAS, parts), name=name)
    return _spec(name, _AliasLoader(f"{BENCHMARK}.{parts[0]}"))


def _spec(name: str, loader: Any, *, is_package: bool = False) -> ModuleSpec:
    # `loader`: importlib's type asks for methods that are optional.
    return ModuleSpec(name, loader, is_package=is_package)


def _is_asked_by_submission() -> bool:
    """Whether the import statement that is executed stands in a file of a submission."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name != __name__ and name.partition(".")[0] != "importlib":
            loader = getattr(frame.f_globals.get("__spec__"), "loader", None)
            return getattr(loader, "is_for_submissions", False)
        frame = frame.f_back
    return False


class Imports:
    """The modules of one submission, and how they are found."""

    def __init__(self, files: Source) -> None:
        """Nothing is executed yet."""
        self.path = files.path
        self._places = files.places
        self.roots = files.roots()
        self.chain = self._packages(files.num_parents())
        self.own = list(self.chain)[-1]  # the name of the submission's folder
        self.main = f"{self.own}.{self.path.stem.replace('.', '_')}"
        if self.path.name == "__init__.py":
            self.main = self.own
        self.tops = {PACKAGE}  # first parts of names whose files are the submission's
        self._first, self._last = _First(self), _Last(self)
        self._modules: dict[str, ModuleType] = {}
        self._added_paths: list[str] = []
        self._hidden: dict[str, ModuleType] = {}
        self._before: tuple[set[str], list[str]] = (set(), [])

    def _packages(self, num_parents: int) -> dict[str, list[Path]]:
        """Package names and their folders, from the highest that is imported from down."""
        own = self._places.own[0]
        names, packages = [PACKAGE], {}
        above = [own, *own.parents][: num_parents + 1]
        for folder in reversed(above):
            packages[".".join(names)] = [folder]
            if folder != own:
                names.append(above[above.index(folder) - 1].name.replace(".", "_"))
        packages[".".join(names)] = list(self._places.own)
        return packages

    def load(self) -> ModuleType:
        """Imports the file; whatever it raises, nothing of it stays behind."""
        self.activate()
        importlib.invalidate_caches()
        try:
            module = importlib.import_module(self.main)
        except BaseException:
            self._note_paths()
            self._withdraw()
            self._modules.clear()
            raise
        self._note_paths()
        return module

    def _note_paths(self) -> None:
        """What the file has put on `sys.path`."""
        self._added_paths = [e for e in sys.path if e not in self._before[1]]

    def activate(self) -> None:
        """Makes this submission's modules those that import statements find."""
        if self._first in sys.meta_path:
            return
        for finder in list(sys.meta_path):
            if isinstance(finder, _First):
                finder._imports._withdraw()
        self._before = set(sys.modules), list(sys.path)
        for name in [n for n in sys.modules if n.partition(".")[0] in self.roots]:
            self._hidden[name] = sys.modules.pop(name)  # mere folders on the path
        sys.modules.update(self._modules)
        sys.path[:0] = self._added_paths
        sys.meta_path.insert(0, self._first)
        sys.meta_path.append(self._last)

    def _withdraw(self) -> None:
        """Takes modules and changes of `sys.path` back, and keeps them for `activate`."""
        for finder in (self._first, self._last):
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(finder)
        sys.path[:] = [e for e in sys.path if e not in self._added_paths]
        for name, module in list(sys.modules.items()):
            if name not in self._before[0] and self._owns(name, module):
                self._modules[name] = sys.modules.pop(name)
        sys.modules.update(self._hidden)
        self._hidden.clear()

    def _owns(self, name: str, module: ModuleType) -> bool:
        """Whether a module is the submission's: its file is nearest to one of its folders."""
        top, file = name.partition(".")[0], getattr(module, "__file__", None)
        if top in self.tops or top == ALIAS:
            return True
        if top == BENCHMARK or not isinstance(file, str):
            return False
        own = [*map(str, self._places.own), *self._added_paths]
        return _depth(file, own) > _depth(file, self._before[1])

    def own_spec(self, name: str) -> ModuleSpec | None:
        """Of a package of the chain, or of the submission's file itself."""
        if name == self.main:
            return _spec_of_file(name, self.path)
        folders = self.chain[name]
        init = next((f for f in map(_init_of, folders) if f is not None), None)
        spec = (
            ModuleSpec(name, None, is_package=True)
            if init is None
            else _spec_of_file(name, init)
        )
        assert spec is not None
        spec.submodule_search_locations = [str(folder) for folder in folders]
        return spec

    def top_spec(self, name: str) -> ModuleSpec | None:
        """Of a top-level name that no installed package has."""
        root = self.roots.get(name) or self._places.root_of_top(name)
        if root is None:
            return None
        spec = self.spec_in(name, [str(root)])
        if spec is not None:
            self.tops.add(name)
        return spec

    def spec_in(self, name: str, folders: list[str]) -> ModuleSpec | None:
        """Of a module in one of some folders, by its canonical name if it has one."""
        last = name.rpartition(".")[2]
        for folder in map(Path, folders):
            canonical = self._canonical(folder / last)
            if canonical is not None and canonical != name:
                is_package = (folder / last).is_dir()
                return _spec(name, _AliasLoader(canonical), is_package=is_package)
        found = PathFinder.find_spec(name, folders)
        if found is None:
            return None
        if isinstance(found.loader, SourceFileLoader) and found.origin:
            spec = _spec_of_file(name, Path(found.origin))
            if spec is not None and found.submodule_search_locations is not None:
                spec.submodule_search_locations = list(found.submodule_search_locations)
            return spec
        if found.submodule_search_locations is not None:
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = list(found.submodule_search_locations)
            return spec
        return found

    def _canonical(self, base: Path) -> str | None:
        """The name below `algoperf_submission` of a module or package; `base`: no suffix."""
        if self.path in (base.with_name(base.name + ".py"), base / "__init__.py"):
            return self.main
        for name, folders in self.chain.items():
            if base in folders:
                return name
        for folder in self._places.own:
            is_there = module_file(base.parent, base.name) or base.is_dir()
            if folder in base.parents and is_there:
                parts = base.relative_to(folder).parts
                if not any("." in part for part in parts):
                    return ".".join([self.own, *parts])
        return None


def _depth(file: str, folders: Sequence[str]) -> int:
    """Length of the longest of the folders that a file lies in; 0 if it is in none."""
    return max(
        (len(f) for f in folders if f and file.startswith(f + os.sep)), default=0
    )


def _init_of(folder: Path) -> Path | None:
    file = folder / "__init__.py"
    return file if file.is_file() else None


def _spec_of_file(name: str, path: Path) -> ModuleSpec | None:
    locations = [str(path.parent)] if path.name == "__init__.py" else None
    return importlib.util.spec_from_file_location(
        name,
        path,
        loader=_SourceLoader(name, str(path)),
        submodule_search_locations=locations,
    )
