"""NumPy arrays and scalars: their layout in JSON, their memory."""

import itertools
from typing import Any

import numpy as np

from algoperf.errors import BadCheckpoint
from algoperf.leaves.nodes import Node


def numpy_node(value: Any, name: str) -> Node | None:
    """The node of an array or scalar of numbers; None for what cannot be saved."""
    is_number = value.dtype.kind in "biufc" or _is_of_ml_dtypes(value.dtype)
    if not is_number or not value.dtype.isnative:
        return None
    if isinstance(value, np.generic):
        return {"is": "scalar", "array": name}
    if type(value) is not np.ndarray:
        return None
    # The order of the axes in memory: it decides in which order sums are taken.
    axes = sorted(range(value.ndim), key=lambda axis: (-abs(value.strides[axis]), axis))
    node = {"is": "array", "array": name, "axes": axes}
    return node if value.flags.writeable else node | {"fixed": True}


def _is_of_ml_dtypes(dtype: np.dtype) -> bool:
    return dtype.type.__module__ == "ml_dtypes"


def read_numpy(node: Node, saved: np.ndarray) -> object:
    """The array or scalar, with memory of its own."""
    if node["is"] == "scalar":
        return np.array(saved)[()]
    value = np.array(saved, order="C").transpose(np.argsort(node["axes"]))
    value.flags.writeable = "fixed" not in node
    return value


class NumpyMemory:
    """Which arrays have been met, to find those that share memory."""

    def __init__(self) -> None:
        self._arrays: dict[int, tuple[np.ndarray, str]] = {}  # by id

    def add(self, array: np.ndarray, path: str) -> None:
        """Notes an array and where it is."""
        self._arrays[id(array)] = array, path

    def forget(self, array: object) -> None:
        """Undoes `add`."""
        self._arrays.pop(id(array), None)

    def check(self) -> None:
        """Refuses two arrays of which one shows what the other holds.

        Restored, they would part: a change of one would no longer be seen in the other.
        """
        spans = sorted(
            (
                (*np.lib.array_utils.byte_bounds(array), path)
                for array, path in self._arrays.values()
                if array.size and array.flags.writeable
            ),
        )
        for (_, end, path), (start, _, other) in itertools.pairwise(spans):
            if start < end:
                raise BadCheckpoint(
                    f"The NumPy arrays {path!r} and {other!r} share memory, which cannot "
                    "be saved. Keep one of them, and slice it where it is used."
                )
