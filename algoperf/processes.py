"""What the processes of a run say to each other; alone, every message is the identity.

All processes make the same calls in the same order. Values travel between hosts' memories: these
are for a few numbers and records, not for gradients.
"""

from collections.abc import Sequence
from typing import Any, Protocol


class Processes(Protocol):
    """The processes of a run, by rank."""

    def all_reduce_max(self, numbers: Sequence[float]) -> list[float]:
        """Element-wise maximum over all processes, on each."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """The values (picklable) of all processes, in the order of ranks, on each."""
        ...

    def broadcast(self, value: Any) -> Any:
        """The first process's value (picklable), on each."""
        ...

    def barrier(self) -> None:
        """Returns when all processes have called it."""
        ...


class OneProcess:
    """A run in one process."""

    def all_reduce_max(self, numbers: Sequence[float]) -> list[float]:
        """The same numbers."""
        return [float(number) for number in numbers]

    def gather(self, value: Any) -> list[Any]:
        """The one value."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """The same value."""
        return value

    def barrier(self) -> None:
        """Returns at once."""
