"""One process of a data-parallel step of plain descent; prints the result as JSON.

Arguments: `jax`, or `pytorch RANK NUM_PROCESSES RENDEZVOUS_FILE`.
"""

import json
import sys

from tiny_workloads import (
    PLAIN_DESCENT,
    ScalarRecorder,
    SoftmaxJax,
    SoftmaxPytorch,
    classification_batch,
    hyperparameters,
    start,
    step,
    submission,
)

POINT = hyperparameters(PLAIN_DESCENT)


def run_jax() -> dict[str, object]:
    """One step over all local devices."""
    import jax
    import numpy as np

    from algoperf import jax_sharding_utils

    params = {"kernel": np.zeros((4, 3), "float32"), "bias": np.zeros(3, "float32")}
    params = jax_sharding_utils.replicate(params)
    batch = jax_sharding_utils.shard_along_batch_dim(classification_batch())
    module, workload = submission("heavy_ball", "jax"), SoftmaxJax(step_hint=100)
    workload.metrics_logger = ScalarRecorder()
    state = start(module, workload, params, POINT)
    state, params = step(module, workload, params, POINT, batch, state, 0)
    arrays = [*jax.tree.leaves(params), *jax.tree.leaves(state[0])]
    return {
        "kernel": np.asarray(params["kernel"]).tolist(),
        "bias": np.asarray(params["bias"]).tolist(),
        "num_devices": jax.device_count(),
        "is_replicated": all(array.is_fully_replicated for array in arrays),
        "loss": workload.metrics_logger.rows[0][1]["loss"],
    }


def run_pytorch(rank: int, num_processes: int, rendezvous: str) -> dict[str, object]:
    """One step of this rank, in DistributedDataParallel over gloo."""
    import torch
    import torch.distributed as dist

    dist.init_process_group(
        "gloo", f"file://{rendezvous}", rank=rank, world_size=num_processes
    )
    linear = torch.nn.Linear(4, 3)
    for parameter in linear.parameters():
        torch.nn.init.zeros_(parameter)
    model = torch.nn.parallel.DistributedDataParallel(linear)
    batch = classification_batch()
    length = len(batch["targets"]) // num_processes
    mine = slice(rank * length, (rank + 1) * length)
    shard = {name: torch.from_numpy(rows[mine]) for name, rows in batch.items()}
    module, workload = submission("heavy_ball", "pytorch"), SoftmaxPytorch(100)
    # As in the harness: only one process has a logger.
    workload.metrics_logger = ScalarRecorder() if rank == 0 else None
    state = start(module, workload, model, POINT)
    step(module, workload, model, POINT, shard, state, 0)
    result: dict[str, object] = {
        "kernel": linear.weight.detach().numpy().T.tolist(),
        "bias": linear.bias.detach().numpy().tolist(),
        "num_valid": float(shard["weights"].sum()),
    }
    if workload.metrics_logger is not None:
        result["loss"] = workload.metrics_logger.rows[0][1]["loss"]
    dist.destroy_process_group()
    return result


if __name__ == "__main__":
    if sys.argv[1] == "jax":
        print(json.dumps(run_jax()))
    else:
        print(json.dumps(run_pytorch(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
