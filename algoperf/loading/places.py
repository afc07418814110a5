"""Where the files of a submission lie: its own folder, and dotted paths below its parents.

Installed packages and the standard library always come first; a file that merely has the
same name hides nothing. Nothing here depends on the current folder.
"""

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

BENCHMARK = "algoperf"
ALIAS = "algorithmic_efficiency"  # the name of `algoperf` in API 0.5


@dataclass(frozen=True)
class Places:
    """The folders in which the imports of one submission are looked up, nearest first."""

    own: tuple[Path, ...]  # the file's folder; of a link, also the link's
    parents: tuple[Path, ...]

    @classmethod
    def of(cls, path: Path) -> "Places":
        """Those of a file; `path` may be a link."""
        given, real = Path(os.path.abspath(path)), path.resolve()
        own = dict.fromkeys((real.parent, given.parent))
        if given.parent.resolve() == real.parent:
            own = {real.parent: None}
        above = [*real.parent.parents, *given.parent.parents]
        parents = dict.fromkeys(folder for folder in above if folder not in own)
        return cls(tuple(own), tuple(parents))

    def root_of(self, name: str, taken: Iterable[str] = ()) -> Path | None:
        """The nearest folder below which `import name` finds a file; None if there is none.

        taken: what `from name import …` takes. A folder without `__init__.py` counts only as a
        part of a longer path, because folders are called anything.
        """
        for folder in (*self.own, *self.parents):
            if exists_below(folder, name, taken):
                return folder
        return None

    def root_of_top(self, name: str) -> Path | None:
        """As `root_of`, for the first part of a path that is not known yet."""
        for folder in self.own:
            if module_file(folder, name) is not None:
                return folder
        for folder in (*self.own, *self.parents):
            if folder.name == name and folder.parent != folder:
                return folder.parent
        return None


def exists_below(folder: Path, name: str, taken: Iterable[str] = ()) -> bool:
    """Whether a dotted name is a module below a folder, or a folder that holds `taken`."""
    if module_file(folder, name) is not None:
        return True
    inside = folder.joinpath(*name.split("."))
    if not inside.is_dir():
        return False
    is_path = "." in name and any(inside.glob("*.py"))
    return is_path or any(_is_importable(inside, part) for part in taken)


def module_file(folder: Path, name: str) -> Path | None:
    """The file of a module or of a package's `__init__` by its dotted name."""
    base = folder.joinpath(*name.split("."))
    suffixes = importlib.machinery.all_suffixes()
    files = [base / f"__init__{suffix}" for suffix in suffixes]
    files += [base.with_name(base.name + suffix) for suffix in suffixes]
    return next((file for file in files if file.is_file()), None)


def _is_importable(folder: Path, name: str) -> bool:
    return module_file(folder, name) is not None or (folder / name).is_dir()


def is_installed(top: str) -> bool:
    """Whether a top-level name is Python's own or an installed package; imports nothing."""
    if top in sys.builtin_module_names or top in sys.stdlib_module_names:
        return True
    return _installed_spec(top) is not None


def is_mere_folder(top: str) -> bool:
    """Whether an installed name is only a folder on the path, without an `__init__.py`.

    Such as `submissions` in a checkout that is installed in editable mode.
    """
    spec = _installed_spec(top)
    return spec is not None and spec.origin is None and not spec.has_location


def _installed_spec(top: str) -> importlib.machinery.ModuleSpec | None:
    loaded = sys.modules.get(top)
    if loaded is not None and not is_submissions(loaded):
        unnamed = importlib.machinery.ModuleSpec(top, None, origin="unknown")
        return getattr(loaded, "__spec__", None) or unnamed
    specs = (_find(finder, top) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _find(finder: object, top: str) -> importlib.machinery.ModuleSpec | None:
    if finder is importlib.machinery.PathFinder:
        return importlib.machinery.PathFinder.find_spec(top, list(search_path()))
    if getattr(finder, "is_for_submissions", False) or not hasattr(finder, "find_spec"):
        return None
    spec: importlib.machinery.ModuleSpec | None = finder.find_spec(top, None)
    return spec


def search_path() -> Iterator[str]:
    """`sys.path` without the current folder, which a trial's process ignores."""
    wanted = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it was removed
        here = ""
    for entry in sys.path:
        if entry and (entry != here or entry in wanted):
            yield entry


def is_submissions(module: object) -> bool:
    """Whether a module was loaded as a file of a submission."""
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    return getattr(loader, "is_for_submissions", False)
