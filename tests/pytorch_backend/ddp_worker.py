"""One process of `test_pytorch_distributed`: runs the tiny model and writes what it saw."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed

from algoperf.pipeline import DataRequest
from algoperf.pytorch_backend import make_backend
from algoperf.pytorch_utils import pytorch_setup
from tests.pytorch_backend import tiny_pytorch_model as tiny

BEFORE = pytorch_setup()  # at import, as submissions do


def shard(backend: Any) -> dict[str, np.ndarray]:
    """This process's rows of the global batch."""
    request = DataRequest(
        folder=Path(),
        split="train",
        splits=tiny.definition().splits,
        batch_size=16,
        seed=0,
        shard=backend.rank,
        num_shards=backend.num_processes,
    )
    return {name: a[request.shard_rows()] for name, a in tiny.batch(16).items()}


def gradients(backend: Any, model: Any, params: Any, rate: float) -> dict[str, Any]:
    """Of the mean loss over the global batch, by parameter name."""
    batch = backend.place(shard(backend))
    options = None, tiny.TRAIN, tiny.key(3), True, rate
    logits, _ = model.forward(params, batch, *options)
    loss = model.loss(batch["targets"], logits, batch["weights"], 0.1)
    params.zero_grad()
    # DDP takes the mean over processes; 14 of the 16 examples are real.
    (loss["summed"] * backend.num_processes / 14).backward()
    return {
        name.removeprefix("module."): parameter.grad.numpy().copy()
        for name, parameter in params.named_parameters()
    }


def run(folder: Path) -> None:
    """Writes one npz of arrays for this rank."""
    backend = make_backend()
    assert pytorch_setup() == BEFORE
    config = tiny.Config(stock_batch_norm=True)
    model, plain = tiny.bound(config, backend=backend), tiny.bound(backend=backend)
    params, _ = plain.init(tiny.key(0))
    seen: dict[str, Any] = {"setup": [str(part) for part in BEFORE]}
    numbers = [1.0 + backend.rank, 5.0 - backend.rank]
    seen["slowest"] = backend.processes.all_reduce_max(numbers)
    seen["first"] = backend.processes.broadcast(backend.rank)
    seen["all"] = backend.processes.gather(backend.rank)
    backend.processes.barrier()
    for rate in (0.0, 0.5):
        for name, value in gradients(backend, plain, params, rate).items():
            seen[f"gradient/{rate}/{name}"] = value
    batch = backend.place(shard(backend))
    for name, value in plain.evaluate(params, None, batch)[0].items():
        seen[f"evaluate/{name}"] = value
    arrays, rest = backend.to_leaves({"params": params})
    seen |= {f"leaves/{name}": value for name, value in arrays.items()}
    other, _ = plain.init(tiny.key(1))
    backend.from_leaves({"params": other}, arrays, rest)
    restored = backend.to_leaves({"params": other})[0]
    seen["restored"] = all(np.array_equal(restored[n], arrays[n]) for n in arrays)
    seen["types"] = [plain.param_types[n].name for n, _ in params.named_parameters()]
    seen |= batch_norm(backend, model)
    backend.close()
    seen["groups_left"] = distributed.is_initialized()
    np.savez(folder / f"{BEFORE[1]}-of-{BEFORE[3]}.npz", **seen)


def batch_norm(backend: Any, model: Any) -> dict[str, np.ndarray]:
    """Running means before a step that must not change them, after it, after another."""
    params, _ = model.init(tiny.key(0))
    batch = backend.place(shard(backend))
    running_mean = next(b for n, b in params.named_buffers() if "running_mean" in n)
    seen = {"bn/before": running_mean.numpy().copy()}
    for name, update in (("bn/kept", False), ("bn/updated", True)):
        model.forward(params, batch, None, tiny.TRAIN, tiny.key(1), update, 0.0)
        seen[name] = running_mean.numpy().copy()
    return seen


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]))
