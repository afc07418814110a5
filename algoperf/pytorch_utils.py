"""What existing PyTorch submissions import: where this process runs."""

import torch

from algoperf.pytorch_backend.distributed import current_rank, device_of


def pytorch_setup() -> tuple[bool, int, torch.device, int]:
    """(use_ddp, rank, device, n_gpus) of this process.

    use_ddp: whether several processes train together, each on its device. n_gpus: the
    number of devices that a global batch is divided over, so 1 on a CPU. Reads the
    environment only, and starts no process group: the harness does.
    """
    rank = current_rank()
    return rank.is_distributed, rank.rank, device_of(rank), rank.world_size
