"""What the harness adds to a step: its loop against a bare loop over the same batches.

`python benchmarks/overhead.py jax|pytorch [--step-ms 5] [--steps 400] [--rounds 5]`

Both loops draw the same placed batch again and again (reading is another benchmark's subject) and
call the same `update_params`, which does a fixed amount of work on the device. They take turns in
one process, so that both meet the same machine.
Prints the median seconds per step of both, and their ratio; and the cost of the harness's loop
around an empty step, which is not hidden by noise in the work.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from algoperf import backend as backends
from algoperf import cli, registry, rulesets
from algoperf.backend import Backend
from algoperf.pipeline import DataRequest
from algoperf.runner.clock import Clock
from algoperf.runner.fairness.stray_workers import StrayWorkers
from algoperf.runner.observers import Observers
from algoperf.runner.randomness import StepKeys
from algoperf.runner.trial import Trial, TrialParts
from algoperf.submission import Submission
from algoperf.workload import Workload

WORKLOAD = "mnist_mini"
BATCH_SIZE = 1_024
Work = Callable[[], Any]


class SameBatch:
    """Stands for an input queue that is never empty."""

    position = 0

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __iter__(self) -> "SameBatch":
        return self

    def __next__(self) -> Any:
        return self._batch

    def close(self) -> None:
        """Nothing to stop."""


def make_work(framework: str, milliseconds: float) -> Work:
    """Device work of about that long: repeated matrix products; none for 0."""
    if not milliseconds:
        return lambda: None
    multiply = _jax_products if framework == "jax" else _pytorch_products
    for size in range(1, 10_000):
        work = multiply(size)
        work()
        start = time.perf_counter()
        for _ in range(5):
            work()
        if (time.perf_counter() - start) / 5 * 1_000 >= milliseconds:
            return work
    raise AssertionError("the machine is too fast for this benchmark")


def _jax_products(count: int) -> Work:
    import jax
    import jax.numpy as jnp

    x = jnp.ones((256, 256)) / 256
    repeated = jax.jit(lambda x: jax.lax.fori_loop(0, 4 * count, lambda _, y: y @ x, x))
    return lambda: repeated(x).block_until_ready()


def _pytorch_products(count: int) -> Work:
    import torch

    x = torch.ones((256, 256)) / 256

    def work() -> Any:
        y = x
        for _ in range(4 * count):
            y = y @ x
        return y

    return work


def bare_loop(parts: TrialParts, work: Work, steps: int) -> float:
    """Seconds per step of batches and work alone."""
    queue = parts.open_queue(0)
    keys = StepKeys(parts.backend, parts.seed)
    keys(0)
    next(queue)
    start = time.perf_counter()
    for step in range(steps):
        keys(step)
        next(queue)
        work()
    seconds = (time.perf_counter() - start) / steps
    queue.close()
    return seconds


def harness_loop(parts: TrialParts, steps: int) -> float:
    """Seconds per step of the trial loop around the same."""
    trial = Trial(dataclasses.replace(parts, clock=Clock()))
    trial._initialise(None)
    trial._keys(0)
    next(trial._queue)
    trial.state.evaluated_at = 1e9  # no evaluation is due
    trial._budget = 1e9  # nor is the budget spent
    start = time.perf_counter()
    for _ in range(steps):
        assert trial._step() is None and trial._spent() is None
        assert not trial._is_evaluation_due()
    seconds = (time.perf_counter() - start) / steps
    trial._queue.close()
    return seconds


def make_parts(backend: Backend, data_dir: Path, work: Work) -> TrialParts:
    """A trial on `WORKLOAD` whose update does `work` and nothing else."""
    definition = registry.definition(WORKLOAD)
    modules = {
        name: registry.workload_part(definition, name)
        for name in ("data", "metrics", f"model_{backend.name}")
    }
    workload = Workload(
        definition,
        backend,
        modules[f"model_{backend.name}"],
        modules["metrics"],
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )

    def update_params(current_param_container: Any, model_state: Any, **_: Any) -> Any:
        work()
        return {}, current_param_container, model_state

    folder = data_dir / definition.prepared_name
    request = DataRequest(folder, "train", definition.splits, BATCH_SIZE, seed=0)
    batch = backend.place(modules["data"].open_batches(request).batch(0))

    submission = Submission(
        path=Path("none"),
        get_batch_size=lambda name: BATCH_SIZE,
        init_optimizer_state=lambda *arguments: {},
        update_params=update_params,
        data_selection=lambda workload, queue, *arguments: next(queue),
        prepare_for_eval=None,
        takes_train_state=False,
    )
    return TrialParts(
        workload=workload,
        backend=backend,
        submission=submission,
        rules=rulesets.ruleset("paper"),
        hyperparameters=None,
        evaluate=lambda params, state: {},
        open_queue=lambda position: SameBatch(batch),
        clock=Clock(),
        log=None,
        observers=Observers(),
        stray_workers=StrayWorkers(),
        seed=0,
        identity={},
    )


def main() -> None:
    """Prints one line for the empty step and one for the step of `--step-ms`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("framework", choices=["jax", "pytorch"])
    parser.add_argument("--step-ms", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    backend = backends.load(options.framework)
    with tempfile.TemporaryDirectory() as folder:
        cli.main(["prepare", WORKLOAD, "--data-dir", folder])
        for milliseconds in (0.0, options.step_ms):
            work = make_work(options.framework, milliseconds)
            parts = make_parts(backend, Path(folder), work)
            bare, ours = [], []
            for _ in range(options.rounds):
                bare.append(bare_loop(parts, work, options.steps))
                ours.append(harness_loop(parts, options.steps))
            loop, harness = statistics.median(bare), statistics.median(ours)
            print(
                f"{options.framework}, step of {milliseconds:g} ms: bare loop "
                f"{loop * 1e3:.4f} ms, harness {harness * 1e3:.4f} ms, "
                f"added {1e6 * (harness - loop):.1f} us, ratio {harness / loop:.4f}"
            )


if __name__ == "__main__":
    main()
