"""The same weights in both frameworks, and one step of either as plain numpy.

As a program (`python both_frameworks.py WORKLOAD FRAMEWORK DATA_DIR`, under torchrun too) it
prints the step's results as JSON: the contract tests compare numbers of devices and processes.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from algoperf import backend as backends
from algoperf import registry, rulesets, spec
from algoperf.backend import Backend
from algoperf.definition import Split, WorkloadDefinition
from algoperf.pipeline import Batches, DataRequest
from algoperf.runner.evaluation import summary_of
from algoperf.runner.randomness import key_numbers
from algoperf.workload import Workload

BATCH_SIZE = 16


def part(definition: WorkloadDefinition, name: str) -> ModuleType:
    return registry.workload_part(definition, name)


def bound(definition: WorkloadDefinition, backend: Backend) -> Workload:
    return Workload(
        definition,
        backend,
        part(definition, f"model_{backend.name}"),
        part(definition, "metrics"),
        ruleset=rulesets.ruleset("v1.0"),  # the one that has all workloads
        tuning="external",
    )


def batches(
    definition: WorkloadDefinition,
    data_dir: Path,
    split: Split,
    *,
    shard: int = 0,
    num_shards: int = 1,
    batch_size: int = BATCH_SIZE,
    seed: int = 3,
) -> Batches:
    request = DataRequest(
        folder=data_dir / definition.prepared_name,
        split=split,
        splits=definition.splits,
        batch_size=batch_size,
        seed=seed,
        config=definition.data,
        shard=shard,
        num_shards=num_shards,
        drop_last=definition.drop_last_batch,
    )
    result: Batches = part(definition, "data").open_batches(request)
    return result


def flat(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """A nested dict of arrays by slash-separated path."""
    if isinstance(tree, Mapping):
        return {
            k: v
            for key, sub in tree.items()
            for k, v in flat(sub, f"{prefix}/{key}").items()
        }
    return {prefix.removeprefix("/"): np.asarray(tree)}


def pytorch_weights(
    definition: WorkloadDefinition, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """JAX parameters (or gradients) by path -> PyTorch's by name.

    By the default rule, or the `weights_from_jax(config, arrays)` of the model.
    """
    from algoperf.pytorch_backend.weights import from_jax

    model = part(definition, "model_pytorch")
    if hasattr(model, "weights_from_jax"):
        converted: dict[str, np.ndarray] = model.weights_from_jax(
            definition.model, arrays
        )
        return converted
    return from_jax(arrays)


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """`function` of each array in nested dicts and tuples, named ones too."""
    if isinstance(tree, Mapping):
        return {key: mapped(function, part) for key, part in tree.items()}
    if isinstance(tree, tuple):
        parts = [mapped(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return function(tree)


def in_float64(x: Any) -> np.ndarray:
    """As numpy's, and float32 as float64."""
    array = np.asarray(x)
    return array.astype(np.float64) if array.dtype == np.float32 else array


def jax_step(
    workload: Workload,
    backend: Backend,
    params: Any,
    state: Any,
    batch: Any,
    train: bool,
) -> dict[str, Any]:
    """Logits, loss parts, gradients and new state of one batch, as numpy."""
    import jax

    mode = spec.ForwardPassMode.TRAIN if train else spec.ForwardPassMode.EVAL
    rng = backend.keys(key_numbers(0, "contract"))[0]

    def objective(params: Any) -> Any:
        logits, new_state = workload.model_fn(
            params, batch, state, mode, rng, update_batch_norm=True, dropout_rate=0.0
        )
        loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
        return loss["summed"] / loss["n_valid_examples"], (logits, loss, new_state)

    gradient = jax.jit(jax.value_and_grad(objective, has_aux=True))
    (_, (logits, loss, new_state)), grads = gradient(params)
    return {
        "logits": [np.asarray(x) for x in jax.tree.leaves(logits)],
        "loss": {k: np.asarray(v) for k, v in loss.items()},
        "grads": flat(jax.device_get(grads)),
        "state": flat(jax.device_get(new_state or {})),
    }


def pytorch_step(
    workload: Workload, backend: Backend, params: Any, batch: Any, train: bool
) -> dict[str, Any]:
    """The same of a PyTorch module; with DDP, gradients of the global mean."""
    mode = spec.ForwardPassMode.TRAIN if train else spec.ForwardPassMode.EVAL
    rng = backend.keys(key_numbers(0, "contract"))[0]
    params.zero_grad()
    logits, _ = workload.model_fn(
        params, batch, None, mode, rng, update_batch_norm=True, dropout_rate=0.0
    )
    loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
    count = sum_over_processes(backend, float(loss["n_valid_examples"]))
    (loss["summed"] / count * backend.num_processes).backward()
    leaves = logits if isinstance(logits, tuple) else (logits,)
    return {
        "logits": [x.detach().numpy() for x in leaves],
        "loss": {k: v.detach().numpy() for k, v in loss.items()},
        "grads": {
            n.removeprefix("module."): p.grad.numpy()
            for n, p in params.named_parameters()
        },
    }


def sum_over_processes(backend: Backend, value: float) -> float:
    if backend.num_processes == 1:
        return value
    import torch

    total = torch.tensor(value, dtype=torch.float64)
    torch.distributed.all_reduce(total)
    return float(total)


def summarise(definition: WorkloadDefinition, data_dir: Path) -> Any:
    folder = data_dir / definition.prepared_name
    return summary_of(part(definition, "metrics"), folder)


def metrics(
    workload: Workload,
    backend: Backend,
    batches: Batches,
    params: Any,
    state: Any,
    data_dir: Path,
) -> Any:
    """Metrics over the first two evaluation batches."""
    outputs = (
        workload.evaluate_batch(params, state, backend.place(batches.batch(index)))
        for index in range(min(2, batches.num_batches or 2))
    )
    return summarise(workload.definition, data_dir)(outputs)


def report(name: str, framework: str, data_dir: Path) -> dict[str, Any]:
    """Loss, gradient norms and metrics of a fixed model on a fixed batch."""
    backend = backends.load(framework)
    definition = registry.definition(name)
    workload = bound(definition, backend)
    params, state = workload.init_model_fn(backend.keys(key_numbers(0, "init"))[0])
    shards = {"shard": backend.rank, "num_shards": backend.num_processes}
    train = backend.place(batches(definition, data_dir, "train", **shards).batch(0))
    validation = batches(definition, data_dir, "validation", **shards)
    if framework == "jax":
        step = jax_step(workload, backend, params, state, train, train=True)
    else:
        step = pytorch_step(workload, backend, params, train, train=True)
    summed = float(step["loss"]["summed"])
    result = {
        "summed": sum_over_processes(backend, summed),
        "gradient_norms": {
            k: float(np.linalg.norm(v)) for k, v in step["grads"].items()
        },
        "metrics": metrics(workload, backend, validation, params, state, data_dir),
        "num_devices": backend.num_devices,
    }
    backend.close()
    return result


if __name__ == "__main__":
    found = report(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    if os.environ.get("RANK", "0") == "0":  # lines of two processes could merge
        print("RESULT " + json.dumps(found), flush=True)
