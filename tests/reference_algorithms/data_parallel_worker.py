"""One process of a data-parallel step of plain descent; prints the result as JSON.

Then steps of the algorithms that share work on matrices among devices or processes.

Arguments: `jax`, or `pytorch RANK NUM_PROCESSES RENDEZVOUS_FILE`.
"""

import json
import sys

import numpy as np
from test_shampoo import CONSTANTS, pytorch_path, random_steps
from test_update_rules import problem
from test_update_rules import run_jax as steps_in_jax
from test_update_rules import run_pytorch as steps_in_pytorch
from tiny_workloads import (
    PLAIN_DESCENT,
    GivenGradientsJax,
    ScalarRecorder,
    SoftmaxJax,
    SoftmaxPytorch,
    classification_batch,
    hyperparameters,
    start,
    step,
    submission,
)

SHARING = ("muon", "normuon", "soap")  # and Shampoo, whose blocks are small here
POINT = hyperparameters(PLAIN_DESCENT)


def as_lists(params: dict[str, np.ndarray]) -> dict[str, list]:
    """For JSON."""
    return {name: np.asarray(value).tolist() for name, value in params.items()}


def shampoo_on_devices() -> dict[str, object]:
    """Steps with small blocks, through the shared training step."""
    import jax

    from algoperf import jax_sharding_utils
    from algoperf.reference_algorithms._shared import training_jax
    from algoperf.reference_algorithms.distributed_shampoo import submission_jax

    params, gradients = random_steps()
    theta = jax_sharding_utils.replicate(jax.tree.map(np.float32, params))
    optimizer = submission_jax.distributed_shampoo(
        lambda _: 0.1, b1=0.8, weight_decay=0.1, constants=CONSTANTS
    )
    state, train_step = training_jax.init(
        GivenGradientsJax(),
        optimizer,
        theta,
        None,
        state_shardings=submission_jax.state_shardings(),
    )
    for grads in gradients:
        batch = {"inputs": jax.tree.map(np.float32, grads), "targets": None}
        rng = jax.random.PRNGKey(0)
        theta, state, _, _ = train_step(theta, state, None, batch, rng)
    stacks = jax.tree.leaves((state[0].statistics, state[0].roots))
    shares = {x.addressable_shards[0].data.shape[0] / x.shape[0] for x in stacks}
    return {"shampoo": as_lists(theta), "shares": sorted(shares)}


def run_jax() -> dict[str, object]:
    """One step over all local devices."""
    import jax

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
        **{name: as_lists(steps_in_jax(name, *problem(name))[-1]) for name in SHARING},
        **shampoo_on_devices(),
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
    for name in SHARING:
        result[name] = as_lists(steps_in_pytorch(name, *problem(name))[-1])
    result["shampoo"] = as_lists(pytorch_path(*random_steps())[-1])
    dist.destroy_process_group()
    return result


if __name__ == "__main__":
    if sys.argv[1] == "jax":
        print(json.dumps(run_jax()))
    else:
        print(json.dumps(run_pytorch(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])))
