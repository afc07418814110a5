"""Step times and memory of both ImageNet models in both frameworks, at full size.

    python benchmarks/imagenet_step.py           # ms a step, JAX against PyTorch
    python benchmarks/imagenet_step.py --memory  # peak memory, extrapolated

Forward, backward and plain gradient descent in float32, on random images; one process for
each model and framework, one after the other. Processor time is that of all threads: where other
jobs share a machine's CPU it is what can be compared. JAX runs one jitted step, PyTorch eagerly or,
with `--compile`, through `torch.compile`.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from algoperf import backend as backends
from algoperf import registry, rulesets, spec
from algoperf.workload import Workload

WORKLOADS = ("imagenet_resnet", "imagenet_vit")
FRAMEWORKS = ("jax", "pytorch")
DEVICES = 8  # of the published system


def random_batch(definition: Any, batch_size: int) -> dict[str, np.ndarray]:
    """Normal pixels and uniform labels."""
    rng = np.random.default_rng(0)
    size, classes = definition.model.image_size, definition.model.num_classes
    return {
        "inputs": rng.normal(size=(batch_size, size, size, 3)).astype(np.float32),
        "targets": rng.integers(0, classes, batch_size).astype(np.int32),
    }


def measure(name: str, framework: str, batch_size: int, options: Any) -> dict[str, Any]:
    """Seconds of the first and of each later step, and peak bytes of this process."""
    arguments = {"compile": True} if options.compile and framework == "pytorch" else {}
    backend = backends.load(framework, **arguments)
    definition = registry.definition(name)
    workload = Workload(
        definition,
        backend,
        registry.module("workloads", definition.folder, f"model_{framework}"),
        registry.module("workloads", definition.folder, "metrics"),
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )
    keys = backend.keys(np.array([[0, 1], [2, 3]]))
    params, state = workload.init_model_fn(keys[0])
    batch = backend.place(random_batch(definition, batch_size))
    make = jax_step if framework == "jax" else pytorch_step
    step = make(workload, params, state, batch, keys[1])
    del params, state  # a step replaces them
    seconds, processor = [], []
    for _ in range(1 + options.steps):
        start = time.perf_counter(), time.process_time()
        step()
        seconds.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "first": seconds[0],
        "later": seconds[1:],
        "processor": processor[1:],
        "peak_bytes": peak,
    }


def jax_step(workload: Any, params: Any, state: Any, batch: Any, key: Any) -> Any:
    """One jitted step that replaces parameters and statistics, awaited."""
    import jax

    def loss_of(params: Any, state: Any, batch: Any) -> Any:
        logits, new_state = workload.model_fn(
            params, batch, state, spec.ForwardPassMode.TRAIN, key, True
        )
        loss = workload.loss_fn(batch["targets"], logits)
        return loss["summed"] / loss["n_valid_examples"], new_state

    def update(params: Any, state: Any, batch: Any) -> Any:
        grads, new_state = jax.grad(loss_of, has_aux=True)(params, state, batch)
        return jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads), new_state

    compiled = jax.jit(update, donate_argnums=(0, 1))
    current = [params, state]

    def step() -> None:
        current[:] = jax.block_until_ready(compiled(*current, batch))

    return step


def pytorch_step(workload: Any, params: Any, state: Any, batch: Any, key: Any) -> Any:
    """One step, awaited."""
    import torch

    optimizer = torch.optim.SGD(params.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        logits, _ = workload.model_fn(
            params, batch, state, spec.ForwardPassMode.TRAIN, key, True
        )
        loss = workload.loss_fn(batch["targets"], logits)
        (loss["summed"] / loss["n_valid_examples"]).backward()
        optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return step


def measured(name: str, framework: str, batch_size: int, options: Any) -> Any:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--only", name, framework]
    command += ["--batch-size", str(batch_size), "--steps", str(options.steps)]
    command += ["--compile"] if options.compile else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def report_times(name: str, options: argparse.Namespace) -> None:
    """A line for each framework, and their ratio."""
    medians, shortest = {}, {}
    for framework in options.frameworks:
        found = measured(name, framework, options.batch_size, options)
        medians[framework] = statistics.median(found["later"])
        shortest[framework] = min(found["processor"])
        print(
            f"{name}, batch {options.batch_size}, {framework}: "
            f"{1e3 * medians[framework]:,.0f} ms a step "
            f"({1e3 * min(found['later']):,.0f}-{1e3 * max(found['later']):,.0f}), "
            f"the first {found['first']:.1f} s; at least "
            f"{1e3 * shortest[framework]:,.0f} ms of processor time",
            flush=True,
        )
    if len(medians) == 2:
        ratio = medians["jax"] / medians["pytorch"]
        processor = shortest["jax"] / shortest["pytorch"]
        print(f"{name}: JAX / PyTorch {ratio:.2f}, processor time {processor:.2f}")


def report_memory(name: str, options: argparse.Namespace) -> None:
    """Peaks at two batch sizes, and the line through them at a device's part."""
    small, large = options.batch_size, 2 * options.batch_size
    part = registry.definition(name).default_batch_size // DEVICES
    options = argparse.Namespace(**{**vars(options), "steps": 1})
    for framework in FRAMEWORKS:
        low, high = (
            measured(name, framework, size, options)["peak_bytes"]
            for size in (small, large)
        )
        each = (high - low) / (large - small)
        print(
            f"{name}, {framework}: peak {low / 1e9:.2f} GB at batch {small}, "
            f"{high / 1e9:.2f} GB at {large}; extrapolated to {part}: "
            f"{(low + each * (part - small)) / 1e9:.1f} GB",
            flush=True,
        )


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument(
        "--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        name, framework = options.only
        print(json.dumps(measure(name, framework, options.batch_size, options)))
        return
    for name in options.workloads:
        (report_memory if options.memory else report_times)(name, options)


if __name__ == "__main__":
    main()
