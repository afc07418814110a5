"""The device of this process: moving batches to it, waiting for it, describing it."""

import threading
from typing import Any, Protocol

import ml_dtypes
import numpy as np
import torch
from torch import nn

from algoperf.definition import WorkloadDefinition
from algoperf.pytorch_backend.distributed import Rank

# NumPy has no such types itself; PyTorch does not read those of ml_dtypes.
_ML_DTYPES = {
    np.dtype(ml_dtypes.bfloat16): torch.bfloat16,
    np.dtype(ml_dtypes.float8_e4m3fn): torch.float8_e4m3fn,
    np.dtype(ml_dtypes.float8_e5m2): torch.float8_e5m2,
}
_NUMPY_DTYPES = {torch_type: numpy for numpy, torch_type in _ML_DTYPES.items()}
# Of the dispatcher; others, such as Meta, say only which shape a result has.
_COMPUTING_KEYS = (
    "/CPU",
    "/CUDA",
    "/CompositeExplicitAutograd",
    "/CompositeImplicitAutograd",
    "/Autograd",
    "/AutogradCPU",
    "/AutogradCUDA",
    "/ADInplaceOrView",
    "/BackendSelect",
)
_INTEGERS = {1: (np.uint8, torch.uint8), 2: (np.int16, torch.int16)}  # by size


class Accelerator(Protocol):
    """What has queues of work to wait for."""

    def synchronize(self) -> None:
        """Returns when all work on all its devices is done."""
        ...


class Cuda:
    """All GPUs that this process has touched."""

    def synchronize(self) -> None:
        """See `Accelerator`. A GPU without our context has no work of ours."""
        for index in range(torch.cuda.device_count()):
            if _has_context(index):
                torch.cuda.synchronize(index)


def _has_context(index: int) -> bool:
    # Waiting would make a context, half a gigabyte, on every other process's GPU.
    # PyTorch has no public name for the question.
    has_context = getattr(torch._C, "_cuda_hasPrimaryContext", None)
    return has_context is None or bool(has_context(index))


class Mps:
    """Apple's GPU: the harness does not use it, a submission may."""

    def synchronize(self) -> None:
        """See `Accelerator`."""
        torch.mps.synchronize()


def accelerator() -> Accelerator | None:
    """The accelerator of this machine; None where there is only a CPU."""
    if torch.cuda.is_available():
        return Cuda()
    if torch.backends.mps.is_available():
        return Mps()
    return None


def to_tensor(array: np.ndarray) -> torch.Tensor:
    """A CPU tensor with the array's memory, or a copy where that is read-only."""
    if not (array.flags.writeable and array.flags.c_contiguous):
        array = np.array(array, order="C")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype in _ML_DTYPES:
        integers = _INTEGERS[array.dtype.itemsize][0]
        return torch.from_numpy(array.view(integers)).view(_ML_DTYPES[array.dtype])
    return torch.from_numpy(array)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A copy of the tensor on the host; bfloat16 and float8 as types of ml_dtypes."""
    tensor = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if tensor.dtype not in _NUMPY_DTYPES:
        return tensor.numpy().copy()
    integers = _INTEGERS[tensor.dtype.itemsize][1]
    return tensor.view(integers).numpy().copy().view(_NUMPY_DTYPES[tensor.dtype])


class Placer:
    """Moves nested arrays to one device; may be called from any thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._thread = threading.local()

    def __call__(self, value: Any) -> Any:
        """The same nesting of dicts, tuples and lists with tensors for numpy arrays."""
        if self._device.type == "cuda" and not hasattr(self._thread, "device"):
            # Pinning memory would otherwise open GPU 0 from every process.
            torch.cuda.set_device(self._device)
            self._thread.device = self._device
        return self._place(value)

    def _place(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._place(part) for key, part in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*(self._place(part) for part in value))
        if isinstance(value, list | tuple):
            return type(value)(self._place(part) for part in value)
        if not isinstance(value, np.ndarray | np.generic):
            return value
        tensor = to_tensor(np.asarray(value))
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


def has_tf32(device: torch.device) -> bool:
    """Whether the device multiplies float32 matrices in TF32."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def set_up_gpu() -> None:
    """The settings that every trial on a GPU starts with.

    TF32 for float32 products and convolutions, which is JAX's default.
    """
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True


def set_up_convolutions(device: torch.device, definition: WorkloadDefinition) -> None:
    """Whether cuDNN's algorithms are tried on a GPU, as the workload's definition says."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = definition.cudnn_benchmark


def process_settings(device: torch.device) -> dict[str, Any]:
    """Settings of this process that could change an evaluation; see RULES.md.

    Evaluations compute no gradients, so their settings are left out, as is what only makes
    products more exact, or faster with the same result.
    """
    module = nn.modules.module  # hooks on all modules have no public reader
    hooks = (
        module._global_forward_hooks,
        module._global_forward_pre_hooks,
        module._global_buffer_registration_hooks,
        module._global_parameter_registration_hooks,
    )
    # An evaluation may need an algorithm that is not deterministic.
    refuses_algorithms = (
        torch.are_deterministic_algorithms_enabled()
        and not torch.is_deterministic_algorithms_warn_only_enabled()
    )
    return {
        "torch default dtype": torch.get_default_dtype(),
        "torch default device": torch.get_default_device(),
        "torch float32 products": _float32_products(),
        "deterministic algorithms": refuses_algorithms,
        "autocast": torch.is_autocast_enabled(device.type),
        "hooks on all modules": sum(map(len, hooks)),
        "torch function modes": torch._C._len_torch_function_stack(),
        "torch dispatch modes": torch._C._len_torch_dispatch_stack(),
        "transforms of torch.func": _num_open_transforms(),
        "kernels of operators": _replaced_kernels(),
    }


def _replaced_kernels() -> list[str]:
    """Operators of PyTorch's own that `torch.library` gave other code to compute with.

    Those of `prims` are for its compiler, which registers them when it is first used.
    """
    return sorted(
        name
        for name in torch.library._impls
        if name.startswith(("aten/", "_/")) and name.endswith(_COMPUTING_KEYS)
    )


def _num_open_transforms() -> int:
    depth = getattr(torch._C._functorch, "get_dynamic_layer_stack_depth", None)
    return int(depth()) if depth is not None else 0


def _float32_products() -> str:
    """How exact products of float32 matrices and convolutions are, on any device."""
    if hasattr(
        torch.backends, "fp32_precision"
    ):  # PyTorch 2.9 has one for each library
        libraries = torch.backends, torch.backends.cudnn, torch.backends.mkldnn
        parts = [
            getattr(library, name, library)
            for library in (*libraries, torch.backends.cuda)
            for name in ("matmul", "conv", "rnn")
        ]
        chosen = {getattr(part, "fp32_precision", "none") for part in parts}
        is_exact = chosen <= {"none", "ieee", "tf32"}
    else:
        is_exact = torch.get_float32_matmul_precision() in ("high", "highest")
    return "at least TF32" if is_exact else "less exact than TF32"


def describe(device: torch.device, rank: Rank) -> dict[str, Any]:
    """Kind, name, count and memory of the devices, versions, and `warnings` to show."""
    facts: dict[str, Any] = {
        "framework": "pytorch",
        "platform": "gpu" if device.type == "cuda" else device.type,
        "device_kind": device.type,
        "num_devices": rank.world_size,
        "device_memory_bytes": None,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "tf32": has_tf32(device),
        "num_threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "warnings": [],
    }
    if device.type != "cuda":
        return facts
    properties = torch.cuda.get_device_properties(device)
    count = torch.cuda.device_count()
    facts["device_kind"] = properties.name
    facts["device_memory_bytes"] = properties.total_memory
    facts["versions"] |= {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
    if count > 1 and not rank.is_distributed:
        facts["warnings"].append(
            f"Only GPU 0 of {count} is used. Start one process a GPU to use them all: "
            f"torchrun --nproc_per_node={count} …"
        )
    return facts
