"""Forward, backward and SGD of the full wmt model on one batch of packed rows.

    python benchmarks/wmt_step.py --framework jax
    python benchmarks/wmt_step.py --framework pytorch --batch-size 4

Tokens are made up; a step takes the same time whatever they are. About 5 GB of memory
with 4 rows.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from algoperf import backend as backends
from algoperf import registry, rulesets, spec
from algoperf.workload import Workload
from algoperf.workloads.wmt.definition import DEFINITION

PAIRS_A_ROW = 8  # about as many as real packed rows hold
REPEATS = 3


def packed_rows(batch_size: int) -> dict[str, np.ndarray]:
    """A training batch as of `data.open_batches`: full rows of equally long pairs."""
    config = DEFINITION.model
    rng = np.random.default_rng(0)
    shape = batch_size, config.max_length
    each = config.max_length // PAIRS_A_ROW
    columns = np.arange(config.max_length, dtype=np.int32)
    batch: dict[str, np.ndarray] = {}
    for key in ("inputs", "targets"):
        batch[key] = rng.integers(3, config.vocab_size, shape).astype(np.int32)
        batch[f"{key}_position"] = np.broadcast_to(columns % each, shape)
        batch[f"{key}_segmentation"] = np.broadcast_to(columns // each + 1, shape)
    return {**batch, "weights": np.ones(shape, np.float32)}


def jax_step(workload: Any, params: Any, batch: Any, key: Any) -> Callable[[], Any]:
    """One jitted step, awaited."""
    import jax

    def loss_of(params: Any, batch: Any) -> Any:
        logits, _ = workload.model_fn(
            params, batch, {}, spec.ForwardPassMode.TRAIN, key, True
        )
        loss = workload.loss_fn(batch["targets"], logits, batch["weights"])
        return loss["summed"] / loss["n_valid_examples"]

    def update(params: Any, batch: Any) -> Any:
        grads = jax.grad(loss_of)(params, batch)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads)

    jitted, held = jax.jit(update, donate_argnums=0), [params]

    def step() -> None:
        held[0] = jax.block_until_ready(jitted(held[0], batch))

    return step


def pytorch_step(workload: Any, params: Any, batch: Any, key: Any) -> Callable[[], Any]:
    """One eager step."""
    import torch

    optimizer = torch.optim.SGD(params.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        logits, _ = workload.model_fn(
            params, batch, None, spec.ForwardPassMode.TRAIN, key, True
        )
        loss = workload.loss_fn(batch["targets"], logits, batch["weights"])
        (loss["summed"] / loss["n_valid_examples"]).backward()
        optimizer.step()

    return step


def main() -> None:
    """Prints the shortest of a few steps, and the first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=["jax", "pytorch"], default="jax")
    parser.add_argument("--batch-size", type=int, default=4)
    options = parser.parse_args()
    backend = backends.load(options.framework)
    workload = Workload(
        DEFINITION,
        backend,
        registry.module("workloads", "wmt", f"model_{options.framework}"),
        registry.module("workloads", "wmt", "metrics"),
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )
    keys = backend.keys(np.array([[0, 1], [2, 3]]))
    params, _ = workload.init_model_fn(keys[0])
    batch = backend.place(packed_rows(options.batch_size))
    make = jax_step if options.framework == "jax" else pytorch_step
    step = make(workload, params, batch, keys[1])
    times = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"{options.framework}, {options.batch_size} rows: {1e3 * min(times[1:]):,.0f} ms "
        f"a step (dropout 0.1), the first {times[0]:.1f} s; peak memory of the process "
        f"{peak:.1f} GB"
    )


if __name__ == "__main__":
    main()
