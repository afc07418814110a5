"""What instruments cost: time per training step with them, relative to the same without.

`python benchmarks/cockpit.py jax|pytorch [--workloads cifar10_3c3d fmnist_2c2d mnist_mlp]
[--configurations light economy] [--intervals 1 16] [--batch-size 128] [--rounds 3]
[--clock wall|cpu]`

Plain SGD on made-up batches of the right shapes. With and without are measured in turns, and
the ratio is that of the two medians; compiling is left out. On a busy machine `--clock cpu`
counts the process's time on all cores instead of the wall clock's. The published ratios
(every step, CPU) are 5.66 for cifar10_3c3d, 34.8 for fmnist_2c2d and 63.0 for mnist_mlp.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf import backend as backends
from algoperf import registry, rulesets, spec
from algoperf.definition import WorkloadDefinition
from algoperf.instrument_logs import InstrumentLog
from algoperf.instruments import configurations
from algoperf.instruments.measuring import Options
from algoperf.instruments.recorder import Plan, Recorder
from algoperf.instruments.schedules import Linear
from algoperf.probe import Objective
from algoperf.workload import Workload

CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "cpu": time.process_time,
}
RATE = 1e-4


@dataclass
class View:
    """A step as the trial shows it to instruments."""

    step: int
    params: Any
    model_state: Any
    batch: Any
    key: Any


def bound(definition: WorkloadDefinition, backend: Any) -> Workload:
    """The workload on that backend."""
    modules = registry.workload_modules(definition, backend.name)
    column = next(iter(definition.limits))
    ruleset = next(r for r in rulesets.RULESETS.values() if r.limits == column)
    return Workload(
        definition,
        backend,
        modules.model,
        modules.metrics,
        ruleset=ruleset,
        tuning="external",
    )


def made_up(definition: WorkloadDefinition, size: int) -> dict[str, np.ndarray]:
    """Normal inputs and labels 0 in the shapes of the workload's batches."""
    model: Any = registry.workload_modules(definition, "jax").model
    random = np.random.default_rng(0)
    batch = {}
    for name, example in model.example_batch(definition.model).items():
        shape = (size, *example.shape[1:])
        is_float = np.issubdtype(example.dtype, np.floating)
        values = random.standard_normal(shape) if is_float else np.zeros(shape)
        batch[name] = values.astype(example.dtype)
    return batch


def pytorch_step(workload: Workload, params: Any, batch: Any, key: Any) -> Any:
    """One step of SGD, as a function that returns the parameters."""
    import torch

    optimizer = torch.optim.SGD(params.parameters(), lr=RATE)

    def step(params: Any, state: Any) -> Any:
        optimizer.zero_grad()
        logits, _ = workload.model_fn(
            params, batch, state, spec.ForwardPassMode.TRAIN, key, True
        )
        loss = workload.loss_fn(batch["targets"], logits)
        (loss["summed"] / loss["n_valid_examples"]).backward()
        optimizer.step()
        return params

    return step


def jax_step(workload: Workload, params: Any, batch: Any, key: Any) -> Any:
    """The same in JAX; the parameters are donated."""
    import jax

    def mean(params: Any, state: Any) -> Any:
        logits, _ = workload.model_fn(
            params, batch, state, spec.ForwardPassMode.TRAIN, key, True
        )
        loss = workload.loss_fn(batch["targets"], logits)
        return loss["summed"] / loss["n_valid_examples"]

    def update(params: Any, state: Any) -> Any:
        grads = jax.grad(mean)(params, state)
        return jax.tree.map(lambda p, g: p - RATE * g, params, grads)

    compiled = jax.jit(update, donate_argnums=0)
    return lambda params, state: jax.block_until_ready(compiled(params, state))


class Loop:
    """Training steps of one workload, with or without instruments."""

    def __init__(self, definition: WorkloadDefinition, backend: Any, size: int) -> None:
        self.workload = bound(definition, backend)
        self.backend = backend
        numbers = np.array([[1, 2], [3, 4]], np.uint32)
        init_key, self.key = backend.keys(numbers)
        self.params, self.state = self.workload.init_model_fn(init_key)
        self.batch = backend.place(made_up(definition, size))
        make = {"jax": jax_step, "pytorch": pytorch_step}[backend.name]
        self.step = make(self.workload, self.params, self.batch, self.key)

    def recorder(self, configuration: str, interval: int, folder: Path) -> Recorder:
        """Instruments that write into a folder."""
        probe = self.backend.probe(Objective(self.workload))
        plan = Plan(configurations.quantities(configuration), Linear(interval))
        log = InstrumentLog(folder, {}, 0)
        return Recorder(probe, plan, Options(), log=log)

    def seconds(self, number: int, recorder: Recorder | None, now: Any) -> float:
        """Of so many steps."""
        begin = now()
        for step in range(number):
            if recorder is None or not recorder.wants(step):
                self.params = self.step(self.params, self.state)
                continue
            recorder.before_step(self.view(step))
            self.params = self.step(self.params, self.state)
            recorder.after_step(self.view(step))
        return float(now() - begin)

    def view(self, step: int) -> View:
        """The step as it is now."""
        return View(step, self.params, self.state, self.batch, self.key)


def measure(loop: Loop, configuration: str, interval: int, options: Any) -> str:
    """A line of the table."""
    now = CLOCKS[options.clock]
    number = max(options.steps, interval)
    with tempfile.TemporaryDirectory() as folder:
        recorder = loop.recorder(configuration, interval, Path(folder))
        loop.seconds(2, recorder, now)  # compiles
        plain, measured = [], []
        for _ in range(options.rounds):
            plain.append(loop.seconds(number, None, now) / number)
            measured.append(loop.seconds(number, recorder, now) / number)
        recorder.close()
    base, whole = statistics.median(plain), statistics.median(measured)
    spread = (max(measured) - min(measured)) / whole
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{loop.workload.name:18} {configuration:9} {interval:4}  {1e3 * base:8.2f} ms  "
        f"{whole / base:6.2f}  (spread {spread:.0%}, peak so far {peak:,.0f} MB)"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("framework", choices=("jax", "pytorch"))
    add(
        "--workloads",
        nargs="+",
        default=["cifar10_3c3d", "fmnist_2c2d", "mnist_mlp"],
    )
    add("--configurations", nargs="+", default=["light", "economy"])
    add("--intervals", nargs="+", type=int, default=[1, 16])
    add("--batch-size", type=int, default=128)
    add("--steps", type=int, default=4)
    add("--rounds", type=int, default=3)
    add("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    backend = backends.load(options.framework)
    print(
        f"{options.framework}, batch size {options.batch_size}, {options.clock} clock"
    )
    print("workload           instruments every  without      ratio")
    for name in options.workloads:
        loop = Loop(registry.definition(name), backend, options.batch_size)
        loop.seconds(2, None, time.perf_counter)
        for configuration in options.configurations:
            for interval in options.intervals:
                print(measure(loop, configuration, interval, options), flush=True)


if __name__ == "__main__":
    main()
