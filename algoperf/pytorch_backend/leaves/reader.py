"""Arrays and a skeleton back into a template: see `leaves` and `skeleton`."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from algoperf.backend import Arrays
from algoperf.errors import BadCheckpoint
from algoperf.pytorch_backend.devices import to_tensor
from algoperf.pytorch_backend.leaves.nodes import PLAIN, SEQUENCES, Node, join
from algoperf.pytorch_backend.leaves.stateful import (
    get_state,
    is_stateful,
    own_tensors,
    set_state,
)

_MISSING: Any = object()  # the template of what only the checkpoint has


class Reader:
    """Restores one tree; `used` are the arrays that had a place in it.

    The template must have the structure of what was saved, but for the states of
    optimizers and the like, which fill up as they are used.
    """

    def __init__(self, arrays: Arrays, device: torch.device) -> None:
        self.used: set[str] = set()
        self._arrays = arrays
        self._device = device
        self._in_state = False  # states are copies: never changed in place
        self._may_grow = False
        self._written: set[int] = set()  # storages, by address
        self._first: dict[str, tuple[Node, Any]] = {}  # path: node, restored
        self._kinds: dict[str, Callable[[Node, Any, str], Any]] = {
            "value": self._plain,
            "float": self._plain,
            "tensor": self._tensor,
            "numpy": self._numpy,
            "scalar": self._numpy,
            "dict": self._dict,
            "list": self._list,
            "fields": self._fields,
            "state": self._state,
            "same": self._same,
            "constant": self._constant,
        }

    def read(self, node: Node, template: Any, path: str) -> Any:
        """What was saved as `node`, in place of `template` where that is possible."""
        kind = next(iter(node))
        if kind not in self._kinds:
            raise BadCheckpoint(
                f"{path!r} is of kind {kind!r}, which this version does not know."
            )
        restored = self._kinds[kind](node, template, path)
        if kind != "same":
            self._first[path] = (node, restored)
        return restored

    def _plain(self, node: Node, template: Any, path: str) -> Any:
        if type(template) not in PLAIN:
            self._mismatch(template, "a plain value", path)
        return float(node["float"]) if "float" in node else node["value"]

    def _tensor(self, node: Node, template: Any, path: str) -> Tensor:
        tensor = to_tensor(np.array(self._array(node["tensor"], path)))
        if not isinstance(template, Tensor):
            self._mismatch(template, "a tensor", path)
            return tensor if node["on"] == "cpu" else tensor.to(self._device)
        if (tensor.shape, tensor.dtype) != (template.shape, template.dtype):
            raise BadCheckpoint(
                f"{path!r}: the checkpoint has {_describe(tensor)}, this run "
                f"{_describe(template)}. Resume with the settings it was written with."
            )
        if self._in_state:
            return tensor.to(template.device)
        return self._into(template, tensor)

    def _into(self, template: Tensor, tensor: Tensor) -> Tensor:
        """The template with new values, or a tensor like it if its memory is shared."""
        address = template.untyped_storage().data_ptr()
        if isinstance(template, nn.Parameter) or address in self._written:
            new = tensor.to(template.device).requires_grad_(template.requires_grad)
            if not isinstance(template, nn.Parameter):
                return new
            return nn.Parameter(new.detach(), template.requires_grad)
        self._written.add(address)
        with torch.no_grad():
            return template.copy_(tensor)

    def _numpy(self, node: Node, template: Any, path: str) -> Any:
        kind, name = next(iter(node.items()))
        array = np.array(self._array(name, path))
        if kind == "scalar":
            return array[()]
        if not isinstance(template, np.ndarray):
            self._mismatch(template, "a NumPy array", path)
        elif (array.shape, array.dtype) != (template.shape, template.dtype):
            raise BadCheckpoint(
                f"{path!r}: the checkpoint has {array.dtype}{list(array.shape)}, this "
                f"run {template.dtype}{list(template.shape)}."
            )
        return array

    def _dict(self, node: Node, template: Any, path: str) -> Any:
        if not isinstance(template, Mapping):
            self._mismatch(template, "a dictionary", path)
            template = {}
        pairs = node["dict"]
        self._check_keys([key for key, _ in pairs], list(template), path)
        values = {
            key: self.read(child, template.get(key, _MISSING), join(path, key))
            for key, child in pairs
        }
        if not hasattr(template, "clear"):
            return values
        restored = copy.copy(template) if self._in_state else template
        restored.clear()
        restored.update(values)
        return restored

    def _list(self, node: Node, template: Any, path: str) -> Any:
        if not isinstance(template, SEQUENCES):
            self._mismatch(template, "a sequence", path)
            template = []
        nodes = node["list"]
        self._check_keys(range(len(nodes)), range(len(template)), path)
        templates = list(template) + [_MISSING] * (len(nodes) - len(template))
        values = [
            self.read(child, templates[i], join(path, i))
            for i, child in enumerate(nodes)
        ]
        if isinstance(template, tuple) and hasattr(template, "_fields"):
            return type(template)(*values)
        if isinstance(template, tuple):
            return type(template)(values)
        restored = copy.copy(template) if self._in_state else template
        restored.clear()
        restored.extend(values)
        return restored

    def _fields(self, node: Node, template: Any, path: str) -> Any:
        for name, child in node["fields"]:
            if not hasattr(template, name):
                self._mismatch(_MISSING, f"a field {name!r}", path)
            old = getattr(template, name)
            # Also where the class is frozen: the template belongs to this checkpoint.
            object.__setattr__(template, name, self.read(child, old, join(path, name)))
        return template

    def _state(self, node: Node, template: Any, path: str) -> Any:
        if not is_stateful(template):
            raise BadCheckpoint(
                f"{path!r}: the checkpoint has the state of an object, this run "
                f"{_kind_of(template)}."
            )
        outer = self._in_state, self._may_grow
        self._in_state, self._may_grow = True, not isinstance(template, nn.Module)
        state = self.read(node["state"], get_state(template), path)
        self._in_state, self._may_grow = outer
        try:
            set_state(template, state)
        except Exception as error:
            raise BadCheckpoint(
                f"{path!r}: the saved state does not fit {type(template).__name__}: "
                f"{error}"
            ) from error
        if isinstance(template, nn.Module):
            for name, tensor in own_tensors(template):
                self._first[join(path, name)] = ({}, tensor)
                self._written.add(tensor.untyped_storage().data_ptr())
        return template

    def _same(self, node: Node, template: Any, path: str) -> Any:
        if node["same"] not in self._first:
            raise BadCheckpoint(
                f"{path!r} repeats {node['same']!r}, which the checkpoint lacks."
            )
        first, restored = self._first[node["same"]]
        if is_stateful(template) and template is not restored:
            # Two objects in this run: one state for both.
            return self.read(first, template, path)
        return restored

    def _constant(self, node: Node, template: Any, path: str) -> Any:
        if template is _MISSING:
            raise BadCheckpoint(
                f"{path!r} was a {node['constant']}, which checkpoints do not hold, and "
                "this run has none there. Make it in init_optimizer_state."
            )
        return template

    def _array(self, name: str, path: str) -> np.ndarray:
        if name not in self._arrays:
            raise BadCheckpoint(
                f"The checkpoint has no array for {path!r}. It was written for "
                "something else, or is damaged."
            )
        self.used.add(name)
        return self._arrays[name]

    def _check_keys(self, saved: Any, present: Any, path: str) -> None:
        if self._may_grow:
            return
        missing = [join(path, key) for key in present if key not in saved]
        extra = [join(path, key) for key in saved if key not in present]
        if missing:
            raise BadCheckpoint(
                f"The checkpoint lacks {missing[0]!r} ({len(missing)} missing), which "
                "this run has. It was written for something else."
            )
        if extra:
            raise BadCheckpoint(
                f"The checkpoint has {extra[0]!r} ({len(extra)} too many), which this "
                "run lacks. It was written for something else; state that grows while "
                "training belongs into an object with state_dict, or is to be made in "
                "init_optimizer_state."
            )

    def _mismatch(self, template: Any, saved: str, path: str) -> None:
        """Refuses another kind of value than the template's, unless states may vary."""
        if not self._may_grow:
            raise BadCheckpoint(
                f"{path!r}: the checkpoint has {saved}, this run {_kind_of(template)}. "
                "Resume with the settings it was written with."
            )


def _kind_of(template: Any) -> str:
    return "nothing" if template is _MISSING else f"a {type(template).__name__}"


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
