"""What the modules that are found by scanning define: typed, and checked when they are loaded.

A module's kind is its file's name (`data`, `metrics`, `model_jax` and `model_pytorch`,
`prepare`); in a family of workloads also `data_…`, `metrics_…`, `…_jax` and `…_pytorch`.
Optional functions are declared here too, so that a slip in a name (`foward` for `forward`) is an
error and not a function that nobody calls.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from algoperf.errors import AlgoPerfError

if TYPE_CHECKING:  # listing workloads imports no numpy
    from algoperf.backend import Arrays, MetricsModule, ModelModule
    from algoperf.pipeline import Batches, DataRequest

_CLOSE = 0.8  # `difflib`'s ratio; `foward` and `forward` have 0.92, `sums` and `summarise` 0.62
Summarise: TypeAlias = "Callable[[Iterator[Arrays]], Mapping[str, float]]"


class DataModule(Protocol):
    """`data.py` of a workload: its batches, the same for both frameworks."""

    def open_batches(self, request: "DataRequest") -> "Batches":
        """The batches that are asked for."""
        ...


class PrepareModule(Protocol):
    """`prepare.py` of a data set: raw official files to our format."""

    FORMAT_VERSION: int
    RAW_HELP: str

    def expand_embedded(self, raw: Path) -> None:
        """Writes the shipped data as raw files in the official layout."""
        ...

    def space_needed(self, raw: Path | None, subset: int | None = None) -> int:
        """Bytes that the prepared data will take."""
        ...

    prepare: Callable[..., None]


@dataclass(frozen=True)
class _Kind:
    """The names that a kind of module must and may define for the harness."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.required, *self.optional)


_KINDS = {
    "data": _Kind(("open_batches",), ("example_batch",)),
    "metrics": _Kind((), ("outputs", "summarise", "summariser", "example_losses")),
    "model_jax": _Kind(
        ("build",),
        ("forward", "init_variables", "outputs", "parameter_loss", "initial_carry"),
    ),
    "model_pytorch": _Kind(
        ("build",),
        ("forward", "outputs", "weights_from_jax", "parameter_loss", "initial_carry"),
    ),
    "prepare": _Kind(
        ("FORMAT_VERSION", "RAW_HELP", "expand_embedded", "space_needed", "prepare"),
        (
            "DOWNLOADS",
            "MINI_SPLITS",
            "PACKAGES",
            "PUBLISHED",
            "SPLITS",
            "TFDS",
            "download",
            "days_of",
        ),
    ),
}


def check(module: ModuleType, name: str) -> None:
    """Raises `AlgoPerfError` for what is missing, or nearly has a name that has a meaning.

    name: of the module's file, which says its kind.
    """
    known = _KINDS.get(_kind_of(name))
    if known is None:
        return
    missing = [name for name in known.required if not hasattr(module, name)]
    if missing:
        raise AlgoPerfError(f"{_file(module)} must define {', '.join(missing)}.")
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", None) == module.__name__
        if not callable(value) or not is_own or name.startswith("_"):
            continue
        close = difflib.get_close_matches(name, known.names, n=1, cutoff=_CLOSE)
        if close and name not in known.names:
            raise AlgoPerfError(
                f"{_file(module)} has {name!r}; did you mean {close[0]!r}? Rename it, or "
                "give it a leading underscore if it is a helper."
            )


def _kind_of(name: str) -> str:
    if name in _KINDS:
        return name
    first, last = name.split("_")[0], name.rsplit("_", 1)[-1]
    return first if first in ("data", "metrics") else f"model_{last}"


def optional(module: Any, name: str, default: Any = None) -> Any:
    """An optional function of a module, or the default."""
    return getattr(module, name, default)


def _file(module: ModuleType) -> str:
    return str(getattr(module, "__file__", module.__name__))


@dataclass(frozen=True)
class WorkloadModules:
    """The modules of one workload for one framework."""

    data: DataModule
    metrics: "MetricsModule"
    model: "ModelModule"

    def as_modules(self) -> tuple[ModuleType, ...]:
        """The same, as Python's modules."""
        found = (self.data, self.metrics, self.model)
        return tuple(module for module in found if isinstance(module, ModuleType))
