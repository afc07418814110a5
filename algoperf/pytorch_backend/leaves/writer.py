"""A tree to arrays and a skeleton: see `leaves` and `skeleton`."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from algoperf.errors import BadCheckpoint
from algoperf.pytorch_backend.devices import to_numpy
from algoperf.pytorch_backend.leaves.nodes import (
    CONSTANTS,
    PLAIN,
    SEQUENCES,
    Node,
    join,
)
from algoperf.pytorch_backend.leaves.stateful import get_state, is_stateful, own_tensors


class Writer:
    """Collects the arrays of one tree."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._paths: dict[int, str] = {}  # of objects that may occur again, by id
        self._alive: list[Any] = []  # keeps ids from being given to other objects

    def write(self, value: Any, path: str) -> Node:
        """The node of a value; the arrays in it are named by `path`."""
        if type(value) in PLAIN:
            return _plain(value)
        if id(value) in self._paths:
            return {"same": self._paths[id(value)]}
        if isinstance(value, np.ndarray | np.generic):
            self.arrays[path] = np.array(value)
            kind = "numpy" if isinstance(value, np.ndarray) else "scalar"
            return {kind: path}
        if isinstance(value, Tensor):
            self._remember(value, path)
            self.arrays[path] = to_numpy(value)
            return {"tensor": path, "on": "cpu" if value.is_cpu else "device"}
        if is_stateful(value):
            return self._stateful(value, path)
        return self._container(value, path)

    def _stateful(self, value: Any, path: str) -> Node:
        self._remember(value, path)
        if isinstance(value, nn.Module):
            for name, tensor in own_tensors(value):
                self._remember(tensor, join(path, name))
        return {"state": self.write(get_state(value), path)}

    def _container(self, value: Any, path: str) -> Node:
        if isinstance(value, Mapping):
            self._remember(value, path)
            return {"dict": [self._pair(*item, path) for item in value.items()]}
        if isinstance(value, SEQUENCES):
            if value:  # Python has only one empty tuple
                self._remember(value, path)
            nodes = [self.write(v, join(path, i)) for i, v in enumerate(value)]
            return {"list": nodes}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            self._remember(value, path)
            names = [field.name for field in dataclasses.fields(value)]
            pairs = [self._pair(name, getattr(value, name), path) for name in names]
            return {"fields": pairs}
        if callable(value) or isinstance(value, CONSTANTS):
            return {"constant": type(value).__name__}
        raise BadCheckpoint(
            f"{path!r} is a {type(value).__name__}, which cannot be saved. "
            "Use tensors, numbers and containers of them, or give the class state_dict "
            "and load_state_dict."
        )

    def _pair(self, key: Any, value: Any, path: str) -> list[Any]:
        if type(key) not in PLAIN:
            raise BadCheckpoint(
                f"{path!r} has a key of type {type(key).__name__}, which "
                "cannot be saved. Use strings or integers as keys."
            )
        return [key, self.write(value, join(path, key))]

    def _remember(self, value: Any, path: str) -> None:
        self._paths.setdefault(id(value), path)
        self._alive.append(value)


def _plain(value: Any) -> Node:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    return {"value": value}
