"""How long reading and scoring logs takes, against merely reading their bytes.

`python benchmarks/scoring.py LOGS --targets FILE [--copies 10]`: scores the logs, then a pool in
which every submission stands `--copies` times (10 copies of the published 399 trials are 3,990).
Prints seconds (best of 5) and the ratio to reading the same files' bytes.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from algoperf import logs
from algoperf.scoring.leaderboard import score

REPEATS = 5


def best_seconds(function: Callable[[], object]) -> float:
    """The shortest of a few runs; the first one also warms the page cache."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def read_bytes(folder: Path) -> int:
    """Size of all evaluation files, which are read."""
    return sum(len(path.read_bytes()) for path in folder.rglob(logs.EVALUATIONS_FILE))


def copied(source: Path, folder: Path, copies: int) -> Path:
    """Every submission of `source` under as many names."""
    for study in {path.parents[1] for path in source.rglob("trial_*")}:
        for copy in range(copies):
            name = f"{study.parent.name}_{copy}"
            shutil.copytree(study, folder / name / study.name)
    return folder


def measure(folder: Path, targets: Path) -> None:
    """Prints one line."""
    trials = logs.read(folder)
    total = best_seconds(lambda: score(logs.read(folder), "v0.5", targets=targets))
    reading = best_seconds(lambda: logs.read(folder))
    floor = best_seconds(lambda: read_bytes(folder))
    print(
        f"{len(trials):5} trials, {read_bytes(folder) / 1e6:6.1f} MB: read and score "
        f"{total:.3f} s, read {reading:.3f} s, bytes alone {floor:.3f} s, "
        f"ratio {total / floor:.1f}"
    )


def main() -> None:
    """Measures the logs as they are and copied."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", type=Path)
    parser.add_argument("--targets", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=10)
    options = parser.parse_args()
    measure(options.logs, options.targets)
    with tempfile.TemporaryDirectory() as temporary:
        measure(copied(options.logs, Path(temporary), options.copies), options.targets)


if __name__ == "__main__":
    main()
