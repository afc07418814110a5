"""Time and memory of full-size training and evaluation steps, JAX against PyTorch.

    python benchmarks/step.py                         # ms a step, every workload
    python benchmarks/step.py --workloads wmt ogbg --compile
    python benchmarks/step.py --memory                # peak memory, extrapolated
    python benchmarks/step.py --evaluate              # evaluation, in training steps

A step is forward, backward and plain gradient descent in float32 on one made-up batch; each
framework runs in a process of its own, one after the other. JAX runs one jitted step, PyTorch
eagerly or, with `--compile`, through `torch.compile`. Processor time is that of all threads:
where other jobs share a machine it is what can be compared.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from made_up_batches import MAKERS
from measuring import print_yardsticks

from algoperf import backend as backends
from algoperf import registry, rulesets, spec
from algoperf.runner.settings import PRECISIONS
from algoperf.workload import Workload

FRAMEWORKS = ("jax", "pytorch")
DEVICES = 8  # of the published system
# Where evaluation batches have a weight for each target, not for each example, and the
# training batches that are made up have none.
WEIGHS_TOKENS = {"finewebedu_lm"}
# Forward, backward and SGD in the published implementation, ms: JAX, PyTorch.
PUBLISHED_MS = {
    "criteo1tb": (2_610, 4_636),
    "fastmri": (10_080, 5_856),
    "imagenet_resnet": (3_990, 2_581),
    "imagenet_vit": (2_476, 2_050),
    "librispeech_conformer": (7_373, 6_407),
    "librispeech_deepspeech": (20_000, 5_540),
    "ogbg": (556, 465),
    "wmt": (10_570, 12_410),
}


def measure(name: str, framework: str, size: int, options: Any) -> dict[str, Any]:
    """Seconds of the first and of each later step, and peak bytes of process and device."""
    arguments = {"compile": True} if options.compile and framework == "pytorch" else {}
    backend = backends.load(framework, precision=options.precision, **arguments)
    definition = registry.definition(f"{name}_mini" if options.mini else name)
    workload = Workload(
        definition,
        backend,
        registry.workload_part(definition, f"model_{framework}"),
        registry.workload_part(definition, "metrics"),
        ruleset=rulesets.ruleset("v1.0"),
        tuning="external",
    )
    keys = backend.keys(np.array([[0, 1], [2, 3]]))
    params, state = workload.init_model_fn(keys[0])
    host_batch = MAKERS[name][0](definition, size)
    batch = backend.place(host_batch)
    if options.evaluate:
        shape = host_batch["targets"].shape if name in WEIGHS_TOKENS else size
        weights = np.ones(shape, np.float32)
        batch = backend.place({"weights": weights, **host_batch})
        evaluate = evaluation_step(workload, params, state, batch)
        evaluating = run(evaluate, options.steps)
    make = jax_step if framework == "jax" else pytorch_step
    step = make(workload, params, state, batch, keys[1])
    del params, state  # a step replaces them
    found = run(step, options.steps)
    found["peak_device_bytes"] = peak_device_bytes(framework)
    if options.evaluate:
        found["evaluation"] = evaluating["later"]
    if options.flops and framework == "pytorch":
        found["flops"] = flops_of(step)
    return found


def peak_device_bytes(framework: str) -> int | None:
    """The most that arrays have occupied on the first device; None if it does not tell."""
    if framework == "jax":
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        return stats.get("peak_bytes_in_use")
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def flops_of(step: Callable[[], object]) -> int:
    """Of the products and convolutions of an eager step in PyTorch, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def run(step: Callable[[], object], number: int) -> dict[str, Any]:
    """Wall and processor seconds of a first and `number` later calls; peak bytes."""
    seconds, processor = [], []
    for _ in range(1 + number):
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


def evaluation_step(workload: Any, params: Any, state: Any, batch: Any) -> Any:
    """One evaluation of a batch, brought to the host."""
    params, state = workload.isolated(params, state)

    def step() -> list[Any]:
        outputs = workload.evaluate_batch(params, state, batch)
        return [np.asarray(value) for value in outputs.values()]

    return step


def jax_step(workload: Any, params: Any, state: Any, batch: Any, key: Any) -> Any:
    """One jitted step that replaces parameters and statistics, awaited."""
    import jax

    def loss_of(params: Any, state: Any, batch: Any) -> Any:
        logits, new_state = workload.model_fn(
            params, batch, state, spec.ForwardPassMode.TRAIN, key, True
        )
        loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
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
        loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
        (loss["summed"] / loss["n_valid_examples"]).backward()
        optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return step


def measured(name: str, framework: str, size: int, options: Any) -> Any:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--only", name, framework]
    command += ["--batch-size", str(size), "--steps", str(options.steps)]
    command += ["--compile"] if options.compile else []
    command += ["--evaluate"] if options.evaluate else []
    command += ["--mini"] if options.mini else []
    command += ["--flops"] if options.flops else []
    command += ["--precision", options.precision]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def report_times(name: str, size: int, options: argparse.Namespace) -> None:
    """A line for each framework, and their ratio."""
    medians, processor = {}, {}
    for framework in options.frameworks:
        found = measured(name, framework, size, options)
        medians[framework] = statistics.median(found["later"])
        processor[framework] = min(found["processor"])
        published = "none"
        if name in PUBLISHED_MS:
            published = f"{PUBLISHED_MS[name][FRAMEWORKS.index(framework)]:,}"
        print(
            f"{name}, batch {size}, {framework}: "
            f"{1e3 * medians[framework]:,.0f} ms a step "
            f"({1e3 * min(found['later']):,.0f}-{1e3 * max(found['later']):,.0f}; published "
            f"at batch {MAKERS[name][1]} {published}), the first {found['first']:.1f} s; "
            f"at least {1e3 * processor[framework]:,.0f} ms of processor time; "
            f"peak {found['peak_bytes'] / 1e9:.2f} GB",
            flush=True,
        )
        if options.evaluate:
            report_evaluation(name, size, found)
    if len(medians) == 2:
        wall, cpu = (x["jax"] / x["pytorch"] for x in (medians, processor))
        print(f"{name}: JAX / PyTorch {wall:.2f}, processor time {cpu:.2f}", flush=True)


def report_evaluation(name: str, size: int, found: dict[str, Any]) -> None:
    """What evaluating the three splits costs, in training steps of the default batch."""
    definition = registry.definition(name)
    splits = definition.splits
    examples = splits.eval_train + splits.validation + splits.test
    each = statistics.median(found["evaluation"]) / size
    step = statistics.median(found["later"]) / size * definition.default_batch_size
    print(
        f"    evaluation: {1e3 * each:,.3f} ms an example; all {examples:,} examples take "
        f"as long as {examples * each / step:,.0f} training steps of "
        f"{definition.default_batch_size:,}",
        flush=True,
    )


def report_memory(name: str, size: int, options: argparse.Namespace) -> None:
    """Peaks at two batch sizes, and the line through them at a device's part."""
    part = registry.definition(name).default_batch_size // DEVICES
    options = argparse.Namespace(**{**vars(options), "steps": 1})
    for framework in options.frameworks:
        low, high = (
            measured(name, framework, n, options)["peak_bytes"]
            for n in (size, 2 * size)
        )
        print(
            f"{name}, {framework}: peak {low / 1e9:.2f} GB at batch {size}, "
            f"{high / 1e9:.2f} GB at {2 * size}; extrapolated to {part}: "
            f"{(low + (high - low) * (part - size) / size) / 1e9:.1f} GB",
            flush=True,
        )


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument(
        "--frameworks", nargs="+", choices=FRAMEWORKS, default=FRAMEWORKS
    )
    parser.add_argument("--batch-size", type=int, help="by default the published one's")
    parser.add_argument("--steps", type=int, default=3, help="after the first")
    parser.add_argument("--compile", action="store_true", help="PyTorch models")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--mini", action="store_true", help="the workloads' mini forms")
    parser.add_argument("--flops", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(*options.only, options.batch_size, options)))
        return
    print_yardsticks()
    for name in options.workloads:
        size = options.batch_size or MAKERS[name][1]
        (report_memory if options.memory else report_times)(name, size, options)


if __name__ == "__main__":
    main()
