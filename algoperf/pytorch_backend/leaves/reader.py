"""Arrays and a structure back to a state with tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from algoperf.errors import BadCheckpoint
from algoperf.leaves import MISSING, Node, Reader, join
from algoperf.leaves.names import name_of
from algoperf.leaves.writer import is_a
from algoperf.pytorch_backend.devices import to_tensor
from algoperf.pytorch_backend.leaves.writer import (
    NOT_SAVED,
    NOT_SAVED_OF_OPTIMIZERS,
    is_around,
    path_of_attribute,
    within,
)


@dataclass
class _Memory:
    """What several tensors share."""

    flat: Tensor  # on the CPU, as it was saved
    storage: torch.UntypedStorage | None = None  # where it lies now
    first: int = 0  # byte of `storage` at which it begins


class TorchReader(Reader):
    """Puts a state of PyTorch together.

    A tensor of the template is filled where type, shape and layout are the same and its
    memory is not another's by then; a parameter that must part from its memory stays the
    same object.
    """

    keep = NOT_SAVED | NOT_SAVED_OF_OPTIMIZERS

    def __init__(self, arrays: Mapping[str, np.ndarray], device: torch.device) -> None:
        super().__init__(arrays)
        self._device = device
        self._owners: dict[int, str] = {}  # storages, by address: arrays that lie there
        self._memories: dict[str, _Memory] = {}  # by array
        self._kinds |= {
            "tensor": self._tensor,
            "generator": self._generator,
            "device": self._named_device,
            "torch": lambda node, *_: getattr(torch, node["name"]),
            "size": lambda node, *_: torch.Size(node["items"]),
            "around": self._around,
            "state": self._state,
        }

    def path_of_attribute(self, value: object, path: str, name: str) -> str:
        """See `Reader.path_of_attribute`."""
        return path_of_attribute(value, path, name)

    def _tensor(self, node: Node, template: Any, path: str) -> Tensor:
        kind = self.type_of(node, template, path) if "type" in node else Tensor
        is_alike = type(template) is kind and _is_plain(template, self._target(node))
        is_free = is_alike and self.claim(template)
        place = self._place_together if "size" in node else self._place_alone
        value = place(node, template if is_free else None, path)
        if value is not template:
            value = _of_kind(value, kind)
        self.remember(node, value)
        value.requires_grad_("requires_grad" in node)
        old = template.grad if value is template else None
        if old is not None or "grad" in node:
            value.grad = self.read(node.get("grad"), old, join(path, "grad"))
        self._attach(value, node, path)
        return value

    def _attach(self, value: Tensor, node: Node, path: str) -> None:
        """Attributes that somebody has set on the tensor."""
        had = dict(vars(value))
        vars(value).clear()
        for name, child in node.get("attributes", []):
            old = had.get(name, MISSING)
            vars(value)[name] = self.read(child, old, join(path, name))

    def _target(self, node: Node) -> torch.device:
        return torch.device("cpu") if node["on"] == "cpu" else self._device

    def _saved(self, node: Node, path: str) -> Tensor:
        return to_tensor(np.array(self.array(node["array"], path)))

    def _place_alone(self, node: Node, template: Tensor | None, path: str) -> Tensor:
        saved = self._saved(node, path)
        is_same = (
            template is not None
            and (template.shape, template.dtype) == (saved.shape, saved.dtype)
            and template.is_contiguous()
        )
        if template is None or not is_same:
            return saved.to(self._target(node))
        if self._take(template, node["array"]):
            return template.copy_(saved)
        template.data = saved.to(template.device)
        return template

    def _take(self, tensor: Tensor, array: str) -> bool:
        """Whether the tensor's memory is free for an array."""
        address = tensor.untyped_storage().data_ptr()
        if not address:
            return True
        return self._owners.setdefault(address, array) == array

    def _place_together(self, node: Node, template: Tensor | None, path: str) -> Tensor:
        name = node["array"]
        if name not in self._memories:
            self._memories[name] = _Memory(self._saved(node, path))
        memory = self._memories[name]
        dtype = getattr(torch, node["dtype"])
        if template is not None and (
            (list(template.shape), template.dtype) != (node["size"], dtype)
        ):
            template = None
        if memory.storage is None:
            self._settle(memory, node, template)
        assert memory.storage is not None
        value = torch.empty(0, dtype=dtype, device=memory.storage.device)
        offset = memory.first // value.itemsize + node["offset"]
        value.set_(memory.storage, offset, node["size"], node["stride"])
        if template is None:
            return value
        if not _lies_as(template, value):
            template.data = value
        return template

    def _settle(self, memory: _Memory, node: Node, template: Tensor | None) -> None:
        """Finds a place for the whole memory: the template's, or a new one."""
        flat = memory.flat
        if template is not None and list(template.stride()) == node["stride"]:
            size, storage = template.itemsize, template.untyped_storage()
            first = (template.storage_offset() - node["offset"]) * size
            end = first + flat.numel() * flat.itemsize
            fits = first >= 0 and end <= storage.nbytes() and not first % flat.itemsize
            if fits and self._take(template, node["array"]):
                place = torch.empty(0, dtype=flat.dtype, device=template.device)
                begin = first // flat.itemsize
                place.set_(storage, begin, (flat.numel(),), (1,)).copy_(flat)
                memory.storage, memory.first = storage, first
                return
        # `clone`: memory of PyTorch's own, which it may resize.
        memory.storage = flat.to(self._target(node)).clone().untyped_storage()

    def _generator(self, node: Node, template: Any, path: str) -> torch.Generator:
        device = self._target(node)
        state = torch.tensor(self.array(node["array"], path))
        is_one = is_a(template, torch.Generator) and template.device.type == device.type
        generator = template if is_one and self.claim(template) else None
        generator = generator or torch.Generator(device)
        generator.set_state(state)
        return generator

    def _named_device(self, node: Node, template: Any, path: str) -> torch.device:
        target = self._target(node)
        if is_a(template, torch.device) and template.type == target.type:
            device: torch.device = template
            return device
        return target if node["on"] != "cpu" else torch.device(node["name"])

    def _around(self, node: Node, template: object, path: str) -> object:
        if not is_around(template) or name_of(type(template)) != node["type"]:
            raise self.no_template(node, template, path)
        inner = within(template)
        if self.read(node["inner"], inner, path) is not inner:
            raise self.no_template(node, template, path)
        return template

    def _state(self, node: Node, template: Any, path: str) -> Any:
        if name_of(type(template)) != node["type"] or not self.claim(template):
            raise self.no_template(node, template, path)
        state = self.read(node["state"], MISSING, path)
        try:
            template.load_state_dict(state)
        except Exception as error:
            raise BadCheckpoint(
                f"{path!r}: the saved state does not fit {type(template).__name__}: "
                f"{error}"
            ) from error
        return template


def _is_plain(template: Any, device: torch.device) -> bool:
    """Whether a tensor can take other values in its place."""
    return (
        is_a(template, Tensor)
        and template.is_leaf
        and template.layout is torch.strided
        and template.device.type == device.type
        and not (template.is_conj() or template.is_neg() or template.is_inference())
    )


def _lies_as(one: Tensor, other: Tensor) -> bool:
    places = [
        (t.untyped_storage().data_ptr(), t.storage_offset(), t.stride())
        for t in (one, other)
    ]
    return places[0] == places[1]


def _of_kind(value: Tensor, kind: type) -> Tensor:
    if kind is Tensor:
        return value
    if kind is nn.Parameter:
        return nn.Parameter(value, requires_grad=False)
    return value.as_subclass(kind)
