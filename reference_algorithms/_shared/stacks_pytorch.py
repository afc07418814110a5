"""Stacks of equal matrices, spread over the processes of a run."""

import contextlib
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist


def map_over_ranks(
    function: Callable[[torch.Tensor], torch.Tensor], stacked: torch.Tensor
) -> torch.Tensor:
    """`function(stacked)`, of which every process computes its share.

    function: [n, ...] -> [n, ...] of the same shape, row by row. stacked: the same on
    all processes, which must all call. The result is the same on all, to the last bit.
    """
    if not (dist.is_available() and dist.is_initialized()) or len(stacked) < 2:
        return function(stacked)
    num_processes, rank = dist.get_world_size(), dist.get_rank()
    share = -(-len(stacked) // num_processes)
    mine = torch.zeros_like(stacked[:1]).repeat(share, *[1] * (stacked.ndim - 1))
    rows = stacked[rank * share : (rank + 1) * share]
    if len(rows):
        mine[: len(rows)] = function(rows)
    whole = mine.new_empty(num_processes * share, *mine.shape[1:])
    dist.all_gather_into_tensor(whole, mine)
    return whole[: len(stacked)]


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Within, float32 products do not use TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
