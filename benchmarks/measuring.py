"""What the scripts beside this file measure with."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def shortest(
    function: Callable[[], Any],
    repeats: int = 7,
    now: Callable[[], float] = time.process_time,
) -> float:
    """Seconds of the shortest of several runs, by default of the processor's time.

    Other jobs on the machine only ever lengthen one.
    """
    seconds = []
    for _ in range(repeats):
        start = now()
        function()
        seconds.append(now() - start)
    return min(seconds)


def resident_bytes() -> int:
    """Memory of this process at this moment; Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def print_memory(evaluate: Callable[[], Any], number: int = 50) -> None:
    """What `number` evaluations after a tenth of them add to the process's memory."""
    for _ in range(number // 10):
        evaluate()
    before = resident_bytes()
    for _ in range(number - number // 10):
        evaluate()
    after = resident_bytes()
    print(
        f"memory of the process after {number // 10} evaluations {before / 1e6:.0f} MB, "
        f"after {number} {after / 1e6:.0f} MB"
    )


def print_yardsticks() -> None:
    """What the machine does at this moment; "published" was measured at 147 and 12.5."""
    x = np.ones((3_000, 3_000), np.float32)
    flops = 2 * 3_000**3 / shortest(lambda: x @ x, 3, time.perf_counter)
    source = np.ones(2**26, np.float64)
    target = np.empty_like(source)
    copy = shortest(lambda: np.copyto(target, source), 3, time.perf_counter)
    print(
        f"yardsticks: matmul {flops / 1e9:.0f} GFLOP/s, "
        f"copy {source.nbytes / copy / 1e9:.1f} GB/s",
        flush=True,
    )
