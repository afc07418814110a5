"""`algoperf.backend.Backend` for PyTorch: one process a device, DDP between them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from algoperf import spec
from algoperf.backend import Arrays, MetricsModule, ModelModule
from algoperf.definition import WorkloadDefinition
from algoperf.errors import BadSettings, near
from algoperf.probe import Objective, Probe
from algoperf.pytorch_backend import devices, leaves, losses, warm_up
from algoperf.pytorch_backend.distributed import (
    ProcessGroups,
    Rank,
    current_rank,
    device_of,
)
from algoperf.pytorch_backend.model import BoundModel, Execution
from algoperf.pytorch_backend.probe import TorchProbe

Precision = Literal["float32", "bf16"]


def make_backend(*, precision: str = "float32", compile: bool = False) -> "Backend":
    """The backend of this process; started by torchrun, one of several.

    precision: "float32" (TF32 where the GPU has it) or "bf16" (bfloat16 compute under
    autocast, float32 parameters). compile: runs models through `torch.compile`.
    """
    if precision not in get_args(Precision):
        raise BadSettings(
            f"No precision {precision!r}.{near(precision, get_args(Precision))} "
            f"Choose one of: {', '.join(get_args(Precision))}."
        )
    rank = current_rank()
    return Backend(rank, device_of(rank), precision, compile)


class Backend:
    """Implements `algoperf.backend.Backend`."""

    name = "pytorch"

    def __init__(
        self, rank: Rank, device: torch.device, precision: str, compile: bool
    ) -> None:
        self.rank = rank.rank
        self.num_processes = self.num_devices = rank.world_size
        self.device = device
        self.precision = precision
        self.compile = compile
        self.accelerator = devices.accelerator()
        self._rank = rank
        self._place = devices.Placer(device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
            devices.set_up_gpu()
        self.processes = ProcessGroups(rank, device)

    def describe_devices(self) -> dict[str, Any]:
        """See `algoperf.backend.Backend`; `warnings` are sentences for the user."""
        return {
            **devices.describe(self.device, self._rank),
            "precision": self.precision,
            "compile": self.compile,
        }

    def device_memory_bytes(self) -> int | None:
        """See `algoperf.backend.Backend`: what tensors occupy on the GPU."""
        if self.device.type != "cuda":
            return None
        return torch.cuda.memory_allocated(self.device)

    def process_settings(self) -> dict[str, Any]:
        """See `algoperf.backend.Backend`."""
        return devices.process_settings(self.device)

    def warm_up(self) -> None:
        """See `algoperf.backend.Backend`, and `warm_up`."""
        warm_up.warm_up(self.device)
        self.processes.warm_up(self.device)

    def seed(self, seed: int) -> None:
        """See `algoperf.backend.Backend`."""
        torch.manual_seed(seed)

    def rng_state(self) -> dict[str, np.ndarray]:
        """See `algoperf.backend.Backend`: of the CPU and this process's GPU."""
        state = {"cpu": torch.get_rng_state().numpy()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device).numpy()
        return state

    def set_rng_state(self, state: Arrays) -> None:
        """See `algoperf.backend.Backend`."""
        torch.set_rng_state(torch.tensor(state["cpu"]))
        if "cuda" in state:
            torch.cuda.set_rng_state(torch.tensor(state["cuda"]), self.device)

    def keys(self, numbers: np.ndarray) -> Sequence[spec.RandomState]:
        """See `algoperf.backend.Backend`: int64 [2] each, values in 0..2^32."""
        return list(numbers.astype(np.int64))

    def place(self, batch: Arrays) -> spec.Batch:
        """See `algoperf.backend.Backend`; safe to call from several threads."""
        placed: spec.Batch = self._place(dict(batch))
        return placed

    def bind(
        self, definition: WorkloadDefinition, model: ModelModule, metrics: MetricsModule
    ) -> BoundModel:
        """See `algoperf.backend.Backend`; `model` has the conventions."""
        devices.set_up_convolutions(self.device, definition)
        execution = Execution(
            self.device,
            self._rank,
            self.processes,
            bf16=self.precision == "bf16",
            compile=self.compile,
        )
        return BoundModel(execution, definition, model, metrics)

    def output_activation(self, loss_type: spec.LossType, logits: Any) -> Any:
        """See `losses.output_activation`."""
        return losses.output_activation(loss_type, logits)

    def synchronize(self, *trees: Any) -> None:
        """See `algoperf.backend.Backend`; a CPU has no queue to wait for."""
        if self.accelerator is not None:
            self.accelerator.synchronize()

    def probe(self, objective: Objective) -> Probe:
        """See `algoperf.backend.Backend`."""
        return TorchProbe(objective, self._rank, self.device, self.processes)

    def is_finite(self, params: Any) -> bool:
        """See `algoperf.backend.Backend`; one reduction over all parameters."""
        tensors = [p.detach() for p in _tensors(params) if p.is_floating_point()]
        if not tensors:
            return True
        # The largest absolute value cannot overflow, and NaN takes part in a maximum.
        largest = nn.utils.get_total_norm(tensors, norm_type=math.inf)
        return bool(torch.isfinite(largest))

    def to_leaves(self, tree: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """See `algoperf.backend.Backend`, and `leaves` for what a tree may hold."""
        return leaves.to_leaves(tree)

    def from_leaves(
        self, template: Any, arrays: Arrays, rest: Mapping[str, Any]
    ) -> Any:
        """See `algoperf.backend.Backend`; tensors are restored in place too."""
        return leaves.from_leaves(template, arrays, rest, self.device)

    def close(self) -> None:
        """See `algoperf.backend.Backend`."""
        self.processes.close()


def _tensors(params: Any) -> Iterator[Tensor]:
    """The parameters of a module, or the tensors of a nested container."""
    if isinstance(params, nn.Module):
        yield from params.parameters()
    elif isinstance(params, Tensor):
        yield params
    elif isinstance(params, Mapping):
        for part in params.values():
            yield from _tensors(part)
    elif isinstance(params, list | tuple):
        for part in params:
            yield from _tensors(part)
