"""Settings of the Python process that decide what runs in an evaluation."""

import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from algoperf.loading.places import is_submissions
from algoperf.runner.fairness.packages import is_function_of_package, is_installed_file

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

# The harness looks every few milliseconds; with a longer interval nobody else would get to run.
_LONGEST_SWITCH_SECONDS = 0.05


class ProcessState:
    """Handlers, importers, limits: as they were, and what differs now."""

    def __init__(self) -> None:
        self._handlers = dict(_handlers())
        self._importers = [*sys.meta_path, *sys.path_hooks]
        self._limits = dict(_limits())
        self._depth = sys.getrecursionlimit()
        self._switch = sys.getswitchinterval()

    def find(self) -> list[str]:
        """One sentence for each setting that a submission must leave alone."""
        found = [
            f"signal handler of {name} was replaced"
            for name, handler in _handlers()
            if handler is not self._handlers[name]
            and not is_function_of_package(handler)
        ]
        found += [
            f"an importer was added: {_kind(importer)}"
            for importer in (*sys.meta_path, *sys.path_hooks)
            if not any(importer is known for known in self._importers)
            and not _is_of_package(importer)
        ]
        found += [
            f"the limit {name} was lowered from {self._limits[name]} to {limit}"
            for name, limit in _limits()
            if limit < self._limits[name]
        ]
        if sys.getrecursionlimit() < self._depth:
            found.append("the recursion limit was lowered")
        if sys.getswitchinterval() > max(self._switch, _LONGEST_SWITCH_SECONDS):
            found.append("the interval at which threads take turns was lengthened")
        return found


def _handlers() -> Iterator[tuple[str, Any]]:
    for number in signal.valid_signals():
        name = number.name if isinstance(number, signal.Signals) else str(number)
        yield name, signal.getsignal(number)


def _limits() -> Iterator[tuple[str, float]]:
    """Soft limits by name; infinity where there is none."""
    if resource is None:
        return
    for name in dir(resource):
        if name.startswith("RLIMIT_"):
            try:
                soft = resource.getrlimit(getattr(resource, name))[0]
            except (OSError, ValueError):
                continue
            is_none = soft == resource.RLIM_INFINITY
            yield name, float("inf") if is_none else float(soft)


def _kind(importer: Any) -> str:
    kind = importer if isinstance(importer, type) else type(importer)
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_of_package(importer: Any) -> bool:
    """Whether an installed package or the harness has defined it, not a submission's file."""
    kind: Mapping[str, Any] | type = (
        importer if isinstance(importer, type) else type(importer)
    )
    name = getattr(importer if callable(importer) else kind, "__module__", None)
    module = sys.modules.get(str(name))
    if module is None or is_submissions(module):
        return False
    is_ours = name == "algoperf.loading.importing" and kind in vars(module).values()
    return is_ours or is_installed_file(getattr(module, "__file__", None))
