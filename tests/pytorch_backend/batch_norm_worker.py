"""One process of a batch norm over several, which writes its part of the results."""

import sys
from pathlib import Path

import numpy as np
import oracles_batch_norm as oracle
import torch
from torch import distributed

from algoperf.pytorch_backend.batch_norm import BatchNorm


def layer(virtual: int | None, feature_axis: int = -1) -> BatchNorm:
    """With the oracle's settings and weights."""
    made = BatchNorm(
        oracle.FEATURES,
        momentum=oracle.MOMENTUM,
        eps=oracle.EPSILON,
        virtual_batch_size=virtual,
        scale_offset=oracle.OFFSET,
        feature_axis=feature_axis,
    )
    with torch.no_grad():
        for own, value in zip(
            (made.weight, made.bias), oracle.scale_and_bias(), strict=True
        ):
            own.copy_(torch.from_numpy(value))
    return made


def step(case: int, rank: int, world_size: int) -> dict[str, np.ndarray]:
    """Output, running statistics and gradients of the sum of this process's cubes."""
    batch_size, virtual, padded = oracle.CASES[case]
    rows = slice(*(batch_size // world_size * (rank + i) for i in range(2)))
    x, mask = oracle.example(batch_size, padded)
    inputs = torch.from_numpy(x[rows]).requires_grad_()
    norm = layer(virtual)
    y = norm(inputs, None if mask is None else torch.from_numpy(mask[rows]))
    y.pow(3).sum().backward()
    assert inputs.grad is not None and norm.weight.grad is not None
    return {
        "y": y.detach().numpy(),
        "gradient": inputs.grad.numpy(),
        "weight_gradient": norm.weight.grad.numpy(),
        "mean": norm.running_mean.numpy(),
        "var": norm.running_var.numpy(),
    }


if __name__ == "__main__":
    folder, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    distributed.init_process_group(
        "gloo", f"file://{folder}/meeting", rank=rank, world_size=world_size
    )
    for case in range(len(oracle.CASES)):
        np.savez(folder / f"{case}-{rank}.npz", **step(case, rank, world_size))
    distributed.destroy_process_group()
