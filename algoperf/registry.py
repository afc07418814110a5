"""Names -> definitions -> the modules of a workload, data set or algorithm.

The wings (`workloads/`, `datasets/`, `reference_algorithms/`, `scoring/`) are scanned when
somebody asks; nothing in the harness names what is in them.
"""

import functools
import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

from algoperf import plugins
from algoperf.definition import WorkloadDefinition
from algoperf.errors import AlgoPerfError, UnknownName, near

Wing = Literal["workloads", "datasets", "reference_algorithms", "scoring"]


def wing_folder(wing: Wing) -> Path:
    """Where a wing lies; says so where a checkout has lost its links."""
    folder = Path(__file__).parent / wing
    if not folder.is_dir():
        raise AlgoPerfError(
            f"{folder} is not a folder. In a checkout it is a symbolic link to "
            f"../{wing}; this file system or git configuration keeps no links. Install the "
            "wheel, or clone with `git -c core.symlinks=true clone`."
        )
    return folder


def folders(wing: Wing) -> list[str]:
    """Names of the packages in a wing, sorted; those with a leading underscore are shared."""
    found = pkgutil.iter_modules([str(wing_folder(wing))])
    return sorted(m.name for m in found if m.ispkg and not m.name.startswith("_"))


def module(wing: Wing, folder: str, name: str) -> ModuleType:
    """`algoperf.<wing>.<folder>.<name>`, checked for what its kind must define."""
    found = importlib.import_module(f"algoperf.{wing}.{folder}.{name}")
    plugins.check(found, name)
    return found


def workload_modules(
    definition: WorkloadDefinition, framework: str
) -> plugins.WorkloadModules:
    """The modules of a workload for one framework."""
    parts = {
        part: module("workloads", definition.folder, name)
        for part, name in (
            ("data", "data"),
            ("metrics", "metrics"),
            ("model", f"model_{framework}"),
        )
    }
    return plugins.WorkloadModules(**cast(dict[str, Any], parts))


def has_module(wing: Wing, folder: str, name: str) -> bool:
    """Whether that module exists, without importing it."""
    return (wing_folder(wing) / folder / f"{name}.py").is_file()


@functools.cache
def base_definitions() -> dict[str, WorkloadDefinition]:
    """Every base workload's definition by name."""
    definitions = {}
    for folder in folders("workloads"):
        definition: WorkloadDefinition = module(
            "workloads", folder, "definition"
        ).DEFINITION
        if definition.name != folder:
            raise AlgoPerfError(
                f"workloads/{folder}/definition.py defines {definition.name!r}; the folder "
                "and the definition must have the same name."
            )
        definitions[folder] = definition
    return definitions


@functools.cache
def definitions() -> dict[str, WorkloadDefinition]:
    """Every workload's definition by name: bases, variants and mini forms."""
    return {
        name: base.named(name)
        for base in base_definitions().values()
        for name in base.names()
    }


def definition(name: str) -> WorkloadDefinition:
    """The definition of a workload; suggests a near name if there is none."""
    known = definitions()
    if name not in known:
        raise UnknownName(
            f"No workload named {name!r}.{near(name, known)} "
            f"`algoperf list --variants` shows all {len(known)}."
        )
    return known[name]


def dataset_module(name: str, part: str) -> ModuleType:
    """`prepare` or `reader` of a data set."""
    known = folders("datasets")
    if name not in known:
        raise UnknownName(
            f"No data set named {name!r}.{near(name, known)} There are: {', '.join(known)}."
        )
    return module("datasets", name, part)


def scoring_module(name: str) -> ModuleType:
    """`algoperf.scoring.<name>`."""
    return importlib.import_module(f"algoperf.scoring.{name}")
