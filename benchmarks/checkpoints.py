"""What checkpoints cost a trial: standing still while a state is copied, and writing beside it.

    python benchmarks/checkpoints.py jax|pytorch [--parameters 8 25 100] [--rounds 5]

The state is that of AdamW: three float32 arrays for each of so many million parameters. "At once"
waits for the disk, as trials did before they wrote in the background; both take turns. Last the
exponent with which each grows with the state, from the smallest to the largest, and for every
workload the share of wall time if its state were copied at every evaluation, at the speed of the
largest, and how often the default writes one then.
"""

import argparse
import math
import shutil
import statistics
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

from algoperf import backend as backends
from algoperf import registry, rulesets
from algoperf.procedures.rehearsal import parameter_counts
from algoperf.runner.checkpoints import files
from algoperf.runner.checkpoints.background import BackgroundWriter
from algoperf.runner.checkpoints.files import Checkpoint

MATRIX = 1_000_000  # elements of each array
BYTES_PER_PARAMETER = 12
SHARE = 0.01  # of wall time: see `schedule`


def state_of(framework: str, millions: int) -> Any:
    """Parameters and both moments, on the device."""
    arrays = [np.ones((1_000, 1_000), np.float32) * i for i in range(3 * millions)]
    if framework == "jax":
        import jax

        return jax.block_until_ready([jax.device_put(x) for x in arrays])
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [torch.tensor(x, device=device) for x in arrays]


def one(backend: Any, state: Any, writer: BackgroundWriter, folder: Path) -> Any:
    """Seconds of copying, of standing still, until it is written, and of the processor."""
    start, cpu = time.perf_counter(), time.process_time()
    arrays, leaves = backend.to_leaves(state)
    copied = time.perf_counter() - start
    checkpoint = Checkpoint(1, arrays, {"leaves": leaves}, {})
    writer.run(lambda: files.save(folder, checkpoint))
    still = time.perf_counter() - start
    writer.wait()
    return types.SimpleNamespace(
        copied=copied,
        still=still,
        written=time.perf_counter() - start,
        processor=time.process_time() - cpu,
    )


def measure(backend: Any, framework: str, millions: int, rounds: int) -> Any:
    """Medians at once and in the background, in turns."""
    state = state_of(framework, millions)
    background = BackgroundWriter()
    background.start()
    writers = {"at once": BackgroundWriter(), "background": background}
    found: dict[str, list[Any]] = {name: [] for name in writers}
    folder = Path(tempfile.mkdtemp())
    for _ in range(rounds + 1):
        for name, writer in writers.items():
            found[name].append(one(backend, state, writer, folder))
    background.close()
    shutil.rmtree(folder)
    return {
        name: types.SimpleNamespace(
            **{
                key: statistics.median(vars(x)[key] for x in values[1:])
                for key in vars(values[0])
            }
        )
        for name, values in found.items()
    }


def main() -> None:
    """Prints a line per size, the exponents, and a line per workload."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("framework", choices=["jax", "pytorch"])
    parser.add_argument("--parameters", type=int, nargs="+", default=[8, 25, 100])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    backend = backends.load(options.framework)
    sizes, results = options.parameters, []
    for millions in sizes:
        found = measure(backend, options.framework, millions, options.rounds)
        results.append(found)
        at_once, after = found["at once"], found["background"]
        print(
            f"{millions} M parameters, {millions * BYTES_PER_PARAMETER} MB: stands still "
            f"{1e3 * at_once.still:.0f} ms at once, {1e3 * after.still:.0f} ms in the "
            f"background ({after.still / at_once.still:.2f}), written after "
            f"{1e3 * after.written:.0f} ms; processor {1e3 * at_once.processor:.0f} and "
            f"{1e3 * after.processor:.0f} ms",
            flush=True,
        )
    for name in ("still", "written"):
        small, large = (vars(r["background"])[name] for r in (results[0], results[-1]))
        exponent = math.log(large / small) / math.log(sizes[-1] / sizes[0])
        print(f"{name}: grows with parameters to the power {exponent:.2f}")
    report_workloads(options.framework, results[-1]["background"].still / sizes[-1])


def report_workloads(framework: str, seconds_per_million: float) -> None:
    """Shares of wall time, from the speed of copying."""
    for name, count in parameter_counts(framework).items():
        definition = registry.definition(name)
        period = definition.eval_period_for(rulesets.ruleset("v1.0"))
        seconds = seconds_per_million * count / 1e6
        every = max(period, seconds / SHARE)
        print(
            f"{name}: {count * BYTES_PER_PARAMETER / 1e9:.2f} GB, evaluated every "
            f"{period:.0f} s; {100 * seconds / period:.2f} % of that time if copied each time; "
            f"by default about every {every:.0f} s"
        )


if __name__ == "__main__":
    main()
