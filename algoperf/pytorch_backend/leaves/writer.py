"""A state with tensors to arrays and a structure."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from algoperf.errors import BadCheckpoint
from algoperf.leaves import Node, Writer, join
from algoperf.leaves.names import name_of
from algoperf.leaves.objects import attributes
from algoperf.leaves.writer import is_a
from algoperf.pytorch_backend.devices import to_numpy

# Compiled code, and what PyTorch puts around methods: a new object gets its own.
NOT_SAVED = frozenset({"_compiled_call_impl"})
NOT_SAVED_OF_OPTIMIZERS = frozenset({"step"})
# Names of a module's own that stand for the module itself in paths.
MEMBERS = frozenset({"_parameters", "_buffers", "_modules"})
NAMED = (torch.dtype, torch.layout, torch.memory_format)
_PLACES = {  # of functions written in C
    "torch": torch,
    "torch.nn.functional": torch.nn.functional,
    "torch._C._nn": torch._C._nn,
}


def is_around(value: object) -> bool:
    """Whether a module is but a wrapper of another."""
    return is_a(value, DistributedDataParallel) or (
        is_a(value, nn.Module) and type(value).__name__ == "OptimizedModule"
    )


def within(value: object) -> nn.Module:
    """The module that a wrapper is around."""
    name = "module" if is_a(value, DistributedDataParallel) else "_orig_mod"
    module: nn.Module = vars(value)["_modules"][name]
    return module


class TorchWriter(Writer):
    """Takes apart a state of PyTorch. Tensors that share memory are saved together."""

    def __init__(self) -> None:
        super().__init__()
        self._memories: dict[Any, list[tuple[Node, Tensor, str]]] = {}

    def special(self, value: Any, path: str) -> Node | None:
        """See `Writer.special`."""
        if is_a(value, Tensor):
            return self._tensor(value, path)
        if is_a(value, torch.Size):
            return {"is": "size", "items": [int(n) for n in tuple.__iter__(value)]}
        if is_a(value, torch.Generator):
            name = self.add_array(path, lambda: value.get_state().numpy().copy())
            return {"is": "generator", "array": name, "on": _place(value.device)}
        if is_a(value, torch.device):
            return {"is": "device", "name": str(value), "on": _place(value)}
        if is_a(value, *NAMED):
            return {"is": "torch", "name": str(value).removeprefix("torch.")}
        if is_around(value):
            self.needs[path] = f"a module within a {type(value).__name__}"
            inner = self.write(within(value), path)
            return {"is": "around", "type": name_of(type(value)), "inner": inner}
        return self._function_in_c(value)

    def _function_in_c(self, value: Any) -> Node | None:
        if type(value) not in (type(torch.relu), type(len)):
            return None
        name = value.__name__
        for place, module in _PLACES.items():
            if getattr(module, name, None) is value:
                return {"is": "global", "name": f"{place}:{name}"}
        return None

    def _tensor(self, value: Tensor, path: str) -> Node:
        self._check(value, path)
        node = self._nodes[id(value)]  # which `finish` completes
        node.update({"is": "tensor", "on": _place(value.device)})
        if type(value) is not Tensor:
            node["type"] = name_of(type(value))
        if value.requires_grad and value.is_leaf:
            node["requires_grad"] = True
        address = value.untyped_storage().data_ptr()
        key = (value.device, address, 0 if address else id(value))
        self._memories.setdefault(key, []).append((node, value, path))
        if value.is_leaf and value.grad is not None:
            node["grad"] = self.write(value.grad, join(path, "grad"))
        held = [[k, self.write(v, join(path, k))] for k, v in vars(value).items()]
        if held:
            node["attributes"] = held
        return node

    def _check(self, value: Tensor, path: str) -> None:
        own_dispatch = type(value).__torch_dispatch__ is not Tensor.__torch_dispatch__
        faults = {
            "it is sparse; keep its indices and values": value.layout
            is not torch.strided,
            "it is quantized; keep its integers and scale": value.is_quantized,
            "it has no data": value.is_meta,
            "it is nested; keep its parts": value.is_nested,
            "its class computes in a way of its own": own_dispatch,
        }
        why = next((fault for fault, is_so in faults.items() if is_so), None)
        if why:
            raise self.refusal(value, path, why)

    def finish(self) -> None:
        """See `Writer.finish`; saves the tensors."""
        for tensors in self._memories.values():
            is_alone = len(tensors) == 1 and tensors[0][1].is_contiguous()
            (self._save_alone if is_alone else self._save_together)(tensors)
        super().finish()

    def _save_alone(self, tensors: list[tuple[Node, Tensor, str]]) -> None:
        ((node, tensor, path),) = tensors
        node["array"] = self.add_array(path, lambda: to_numpy(tensor))

    def _save_together(self, tensors: list[tuple[Node, Tensor, str]]) -> None:
        """The memory from the first element to the last, and where each tensor lies."""
        flat, first = _memory_of([tensor for _, tensor, _ in tensors])
        name = self.add_array(tensors[0][2], lambda: to_numpy(flat))
        for node, tensor, path in tensors:
            if tensor.is_conj() or tensor.is_neg():
                raise self.refusal(tensor, path, "it is a lazy conjugate; resolve it")
            node["array"] = name
            node["size"], node["stride"] = list(tensor.shape), list(tensor.stride())
            node["offset"] = tensor.storage_offset() - first // tensor.itemsize
            node["dtype"] = str(tensor.dtype).removeprefix("torch.")

    def forget(self, value: object) -> None:
        """See `Writer.forget`."""
        super().forget(value)
        if is_a(value, Tensor):
            for address, tensors in list(self._memories.items()):
                left = [entry for entry in tensors if entry[1] is not value]
                self._memories[address] = left
                if not left:
                    del self._memories[address]

    def attributes_of(self, value: object) -> Iterator[tuple[str, Any]]:
        """See `Writer.attributes_of`."""
        found = dict(attributes(value))
        left_out = not_saved(value)
        if is_a(
            value, Optimizer
        ):  # the parameters before the state that they are keys of
            found = {"param_groups": found.get("param_groups", []), **found}
        return ((k, v) for k, v in found.items() if k not in left_out)

    def path_of_attribute(self, value: object, path: str, name: str) -> str:
        """See `Writer.path_of_attribute`."""
        return path_of_attribute(value, path, name)

    def _attributes(self, value: Any, path: str) -> Node:
        """Of an object of PyTorch's own that cannot be saved, what it gives itself."""
        is_known = type(value).__module__.startswith("torch.")
        if not is_known or not hasattr(type(value), "load_state_dict"):
            return super()._attributes(value, path)
        mark = self._mark()
        try:
            return super()._attributes(value, path)
        except BadCheckpoint:
            self._back_to(mark)
        self.needs[path] = f"a {type(value).__name__}"
        state = self.write(value.state_dict(), path)
        return {"is": "state", "type": name_of(type(value)), "state": state}


def not_saved(value: object) -> frozenset[str]:
    """Attributes that are left as they are."""
    if is_a(value, Optimizer):
        return NOT_SAVED_OF_OPTIMIZERS
    return NOT_SAVED if is_a(value, nn.Module) else frozenset()


def path_of_attribute(value: object, path: str, name: str) -> str:
    """Paths of parameters are as in `state_dict`, with slashes."""
    is_member = is_a(value, nn.Module) and name in MEMBERS
    return path if is_member else join(path, name)


def _place(device: torch.device) -> str:
    return "cpu" if device.type == "cpu" else "device"


def _memory_of(tensors: list[Tensor]) -> tuple[Tensor, int]:
    """The memory that tensors of one storage cover, flat, and its first byte."""
    spans = [_span(tensor) for tensor in tensors]
    first, last = min(s for s, _ in spans), max(e for _, e in spans)
    dtypes = {tensor.dtype for tensor in tensors}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.uint8
    if dtype is torch.uint8:
        first -= (
            first % 16
        )  # so that elements of any type begin at a multiple of theirs
    flat = torch.empty(0, dtype=dtype, device=tensors[0].device)
    count, offset = (last - first) // flat.itemsize, first // flat.itemsize
    flat.set_(tensors[0].untyped_storage(), offset, (count,), (1,))
    return flat, first


def _span(tensor: Tensor) -> tuple[int, int]:
    """The first byte of a tensor in its storage, and the one after its last."""
    size = tensor.itemsize
    first = int(tensor.storage_offset()) * size
    if not tensor.numel():
        return first, first
    reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return first, first + (int(reach) + 1) * size
