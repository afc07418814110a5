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
        "data": workload_part(definition, "data"),
        "metrics": workload_part(definition, "metrics"),
        "model": workload_part(definition, f"model_{framework}"),
    }
    return plugins.WorkloadModules(**cast(dict[str, Any], parts))


def workload_part(definition: WorkloadDefinition, part: str) -> ModuleType:
    """`data`, `metrics`, `model_jax` or `model_pytorch` of a workload."""
    own = definition.modules
    name = {"data": own.data, "metrics": own.metrics}.get(
        part, part.replace("model", own.model, 1)
    )
    return module("workloads", definition.folder, name)


def has_model(definition: WorkloadDefinition, framework: str) -> bool:
    """Whether a workload has a model for that framework, without importing it."""
    name = f"{definition.modules.model}_{framework}"
    return has_module("workloads", definition.folder, name)


def has_module(wing: Wing, folder: str, name: str) -> bool:
    """Whether that module exists, without importing it."""
    return (wing_folder(wing) / folder / f"{name}.py").is_file()


@functools.cache
def base_definitions() -> dict[str, WorkloadDefinition]:
    """Every base workload's definition by name."""
    definitions: dict[str, WorkloadDefinition] = {}
    for folder in folders("workloads"):
        for definition in _definitions_in(folder):
            if definition.name in definitions:
                raise AlgoPerfError(
                    f"workloads/{folder} and workloads/{definitions[definition.name].folder} "
                    f"both define {definition.name!r}. Rename one of the two."
                )
            definitions[definition.name] = definition
    return definitions


def _definitions_in(folder: str) -> tuple[WorkloadDefinition, ...]:
    """`DEFINITION` of definition.py, or the family `DEFINITIONS` of definitions.py."""
    if has_module("workloads", folder, "definitions"):
        family: tuple[WorkloadDefinition, ...] = module(
            "workloads", folder, "definitions"
        ).DEFINITIONS
        for definition in family:
            if definition.folder != folder:
                raise AlgoPerfError(
                    f"workloads/{folder}/definitions.py defines {definition.name!r} with "
                    f"folder={definition.folder!r}; it must be {folder!r}."
                )
            if not definition.is_base:
                raise AlgoPerfError(
                    f"workloads/{folder}/definitions.py defines {definition.name!r} with "
                    f"base_name={definition.base_name!r}; leave base_name out, or write a "
                    "variant as a Variant."
                )
        return family
    single: WorkloadDefinition = module("workloads", folder, "definition").DEFINITION
    if single.name != folder:
        raise AlgoPerfError(
            f"workloads/{folder}/definition.py defines {single.name!r}; the folder and the "
            "definition must have the same name."
        )
    return (single,)


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


def format_version(dataset: str) -> int | None:
    """The version of prepared data that is read; None for a data set from elsewhere."""
    if not has_module("datasets", dataset, "reader"):
        return None
    return cast(int, dataset_module(dataset, "reader").FORMAT_VERSION)


def prepare_module(name: str) -> plugins.PrepareModule:
    """`prepare` of a data set."""
    return cast(plugins.PrepareModule, dataset_module(name, "prepare"))


def scoring_module(name: str) -> ModuleType:
    """`algoperf.scoring.<name>`."""
    return importlib.import_module(f"algoperf.scoring.{name}")
