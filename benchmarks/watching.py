"""What watching from outside and sampling add to a step and to an evaluation.

`python benchmarks/watching.py [--steps 20000] [--rounds 7]`

CPU time of the process, so that others on the machine matter little. A step is an empty block
on the submission's clock, compared with 5 ms. An evaluation is matrix products and Python code
for a while, with and without the sampler, the reporter and the measuring of workers.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from algoperf.runner.clock import Clock, Numbers
from algoperf.runner.fairness.phases import WatchedBoard
from algoperf.runner.fairness.stamps import Reporter
from algoperf.runner.fairness.untimed import OffClockSampler, WorkersTime

STEP_SECONDS = 5e-3


def step_seconds(board: Numbers, steps: int) -> float:
    """CPU seconds of entering and leaving the submission's clock."""
    clock = Clock(board=board)
    start = time.process_time()
    for _ in range(steps):
        with clock.submission():
            pass
    return (time.process_time() - start) / steps


def evaluation(clock: Clock) -> float:
    """CPU seconds of work that stands for an evaluation."""
    values = np.ones((256, 256)) / 256
    start = time.process_time()
    with clock.evaluation():
        for _ in range(600):
            values = values @ values
            sum(len(str(number)) for number in range(5_000))
    return time.process_time() - start


def main() -> None:
    """Prints what is added to a step and to an evaluation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    bare, watched = [], []
    for _ in range(options.rounds):
        bare.append(step_seconds([0.0] * 3, options.steps))
        watched.append(step_seconds(WatchedBoard(None), options.steps))
    added = statistics.median(watched) - statistics.median(bare)
    print(f"a step: {1e6 * added:.2f} us added, {added / STEP_SECONDS:.4%} of 5 ms")
    with tempfile.TemporaryDirectory() as folder:
        pipe = Path(folder) / "pipe"
        os.mkfifo(pipe)
        drain(lambda: pipe.read_bytes())
        plain, board = Clock(), WatchedBoard(None)
        clock = Clock(board=board)
        with OffClockSampler([Path(folder)]) as sampler:
            listeners = [sampler, WorkersTime(tuple), Reporter(pipe, clock)]
            board.listeners.extend(listeners)
            without, with_all = [], []
            for _ in range(options.rounds):
                without.append(evaluation(plain))
                with_all.append(evaluation(clock))
    ratio = statistics.median(with_all) / statistics.median(without)
    print(f"an evaluation of {statistics.median(without):.2f} s: ratio {ratio:.4f}")


def drain(read: Callable[[], object]) -> None:
    """Stands for the launcher, which reads what comes."""
    threading.Thread(target=read, daemon=True).start()


if __name__ == "__main__":
    main()
