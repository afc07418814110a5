"""The processes of one run, as `torchrun` started them, and their messages.

Gradients travel through PyTorch's default group (NCCL, or gloo on CPUs). Everything
else goes through a second group, over gloo: control messages never wait for the
devices' queues.
"""

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from algoperf.errors import BadSettings

_LOCAL_STATISTICS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


@dataclass(frozen=True)
class Rank:
    """Which of how many processes this one is."""

    rank: int = 0
    local_rank: int = 0  # among the processes of this machine: the device's index
    world_size: int = 1

    @property
    def is_distributed(self) -> bool:
        """Whether there are other processes."""
        return self.world_size > 1


def rank_from(environment: Mapping[str, str]) -> Rank:
    """The rank that torchrun's variables say; the only process where there are none."""
    given = [name for name in _VARIABLES if name in environment]
    if "WORLD_SIZE" not in given or environment["WORLD_SIZE"] == "1":
        return Rank()
    missing = sorted(set(_VARIABLES) - set(given))
    if missing:
        raise BadSettings(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but {', '.join(missing)} is "
            "not set. Start several processes with torchrun, which sets all of them."
        )
    return Rank(*(int(environment[name]) for name in _VARIABLES))


def device_of(rank: Rank) -> torch.device:
    """The GPU of this process, or the CPU where there is no GPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if rank.local_rank >= count:
        raise BadSettings(
            f"This is process {rank.local_rank} on a machine with {count} visible "
            f"GPU(s). Start one process a GPU: torchrun --nproc_per_node={count}."
        )
    return torch.device("cuda", rank.local_rank)


class ProcessGroups:
    """Implements `algoperf.processes.Processes` with the process groups of a run."""

    def __init__(self, rank: Rank, device: torch.device) -> None:
        self._world_size = rank.world_size
        self._owns_default_group = False
        self._control: Any = None
        if not rank.is_distributed:
            return
        if not distributed.is_initialized():
            if device.type == "cuda":
                distributed.init_process_group("nccl", device_id=device)
            else:
                distributed.init_process_group("gloo")
            self._owns_default_group = True
        self._control = distributed.new_group(backend="gloo")

    def warm_up(self, device: torch.device) -> None:
        """Lets the processes connect, on the devices' own network too."""
        if self._control is None:
            return
        distributed.all_reduce(torch.zeros(1, device=device))
        self.barrier()

    def all_reduce_max(self, numbers: Sequence[float]) -> list[float]:
        """See `Processes`."""
        if self._control is None:
            return [float(number) for number in numbers]
        tensor = torch.tensor(list(numbers), dtype=torch.float64)
        distributed.all_reduce(tensor, distributed.ReduceOp.MAX, group=self._control)
        return tensor.tolist()

    def gather(self, value: Any) -> list[Any]:
        """See `Processes`."""
        if self._control is None:
            return [value]
        values: list[Any] = [None] * self._world_size
        distributed.all_gather_object(values, value, group=self._control)
        return values

    def broadcast(self, value: Any) -> Any:
        """See `Processes`."""
        if self._control is None:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=self._control)
        return values[0]

    def barrier(self) -> None:
        """See `Processes`."""
        if self._control is not None:
            distributed.barrier(group=self._control)

    def joined(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All processes' arrays, joined along the first axis in the order of ranks."""
        parts = self.gather(dict(arrays))
        return {name: np.concatenate([part[name] for part in parts]) for name in arrays}

    def close(self) -> None:
        """Releases the groups that were made here."""
        if self._control is not None:
            distributed.destroy_process_group(self._control)
            self._control = None
        if self._owns_default_group and distributed.is_initialized():
            distributed.destroy_process_group()
            self._owns_default_group = False


def current_rank() -> Rank:
    """`rank_from` this process's environment."""
    return rank_from(os.environ)


def wrap(module: nn.Module, device: torch.device) -> nn.Module:
    """The module in DDP: gradients are averaged over processes in the backward pass."""
    # Layers of ours keep their buffers equal on all ranks; PyTorch's BatchNorm does not.
    # Elsewhere a broadcast into buffers would break a backward pass that needs them.
    stock = any(isinstance(part, _LOCAL_STATISTICS) for part in module.modules())
    known = inspect.signature(DistributedDataParallel).parameters
    renamed = "forward_sync_buffers" in known  # in PyTorch 2.13 at the latest
    sync_buffers = "forward_sync_buffers" if renamed else "broadcast_buffers"
    options: dict[str, Any] = {sync_buffers: stock}
    if device.type == "cuda":
        options["device_ids"] = [device.index]
    return DistributedDataParallel(module, **options)


def unwrap(module: nn.Module) -> nn.Module:
    """The module itself, where DDP is around it."""
    while isinstance(module, DistributedDataParallel):
        module = module.module
    return module
