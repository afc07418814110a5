"""Step times and memory of both speech models in both frameworks, at full size.

    python benchmarks/librispeech_step.py           # ms a step, JAX against PyTorch
    python benchmarks/librispeech_step.py --memory  # peak memory, extrapolated

Forward, backward and plain gradient descent in float32 on two utterances of 20 s of noise
with 100 tokens each; one process for each model and framework, one after the other. JAX runs
one jitted step, PyTorch eagerly or, with `--compile`, through `torch.compile`. Yardsticks:
the published implementation took 7,373 (JAX) and 6,407 ms (PyTorch) for the Conformer, about
20,000 and 5,540 ms for DeepSpeech, where matrices are multiplied at 147 GFLOP/s.
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

WORKLOADS = ("librispeech_conformer", "librispeech_deepspeech")
FRAMEWORKS = ("jax", "pytorch")
DEVICES = 8  # of the published system
NUM_TOKENS = 100


def random_batch(definition: Any, batch_size: int) -> dict[str, Any]:
    """Full-length noise and uniform tokens."""
    rng = np.random.default_rng(0)
    data = definition.data
    signal = rng.normal(scale=1e3, size=(batch_size, data.max_samples))
    tokens = rng.integers(1, data.vocab_size, (batch_size, data.max_tokens))
    is_padding = np.broadcast_to(np.arange(data.max_tokens) >= NUM_TOKENS, tokens.shape)
    return {
        "inputs": (signal.astype(np.float32), np.zeros(signal.shape, np.float32)),
        "targets": (tokens.astype(np.int32), is_padding.astype(np.float32)),
    }


def bound(name: str, framework: str, backend: Any) -> Workload:
    """The workload of that name."""
    definition = registry.definition(name)
    model = registry.module("workloads", definition.folder, f"model_{framework}")
    metrics = registry.module("workloads", definition.folder, "metrics")
    ruleset = rulesets.ruleset("paper")
    return Workload(
        definition, backend, model, metrics, ruleset=ruleset, tuning="external"
    )


def measure(name: str, framework: str, batch_size: int, options: Any) -> dict[str, Any]:
    """Seconds of the first and of each later step, and peak bytes of this process."""
    arguments = {"compile": True} if options.compile and framework == "pytorch" else {}
    backend = backends.load(framework, **arguments)
    workload = bound(name, framework, backend)
    keys = backend.keys(np.array([[0, 1], [2, 3]]))
    params, state = workload.init_model_fn(keys[0])
    batch = backend.place(random_batch(workload.definition, batch_size))
    make = jax_step if framework == "jax" else pytorch_step
    step = make(workload, params, state, batch, keys[1])
    del params, state  # a step replaces them
    seconds = []
    for _ in range(1 + options.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"first": seconds[0], "later": seconds[1:], "peak_bytes": peak}


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
    medians = {}
    for framework in options.frameworks:
        found = measured(name, framework, options.batch_size, options)
        medians[framework] = statistics.median(found["later"])
        print(
            f"{name}, batch {options.batch_size}, {framework}: "
            f"{1e3 * medians[framework]:,.0f} ms a step "
            f"({1e3 * min(found['later']):,.0f}-{1e3 * max(found['later']):,.0f}), "
            f"the first {found['first']:.1f} s",
            flush=True,
        )
    if len(medians) == 2:
        ratio = medians["jax"] / medians["pytorch"]
        print(f"{name}: JAX / PyTorch {ratio:.2f}", flush=True)


def report_memory(name: str, options: argparse.Namespace) -> None:
    """Peaks at two batch sizes, and the line through them at a device's part."""
    small, large = options.batch_size, 2 * options.batch_size
    part = registry.definition(name).default_batch_size // DEVICES
    options = argparse.Namespace(**{**vars(options), "steps": 1})
    for framework in options.frameworks:
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


def yardstick() -> None:
    """What the machine does at this moment."""
    x = np.ones((3_000, 3_000), np.float32)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        x @ x
        seconds.append(time.perf_counter() - start)
    print(f"matmul {2 * 3_000**3 / min(seconds) / 1e9:.0f} GFLOP/s", flush=True)


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument(
        "--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS
    )
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(*options.only, options.batch_size, options)))
        return
    yardstick()
    for name in options.workloads:
        (report_memory if options.memory else report_times)(name, options)


if __name__ == "__main__":
    main()
