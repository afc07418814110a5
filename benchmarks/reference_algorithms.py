"""Every reference algorithm on a mini workload: the best of a few points of its space.

`python benchmarks/reference_algorithms.py [--workload mnist_mini] [--trials 5] [--frameworks
jax pytorch] [--algorithms NAME ...] [--folder FOLDER]`: runs each as `algoperf run` does, and
prints a table in Markdown: trials that reached the validation target, and of the fastest one
(or, where none did, of the best one) metric, steps and seconds. Trials that are in FOLDER
already are not run again.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

from algoperf import logs, registry
from algoperf.definition import Target

_ROOT = Path(__file__).resolve().parents[1] / "reference_algorithms"


def algorithms() -> list[str]:
    """Names of the folders that have submissions."""
    return sorted(path.parent.name for path in _ROOT.glob("*/submission_jax.py"))


def run(algorithm: str, framework: str, options: argparse.Namespace) -> None:
    """All trials; those that ended without reaching the target are results too."""
    folder = _ROOT / algorithm
    space = folder / options.space
    command = [sys.executable, "-m", "algoperf.cli", "run"]
    command += [str(folder / f"submission_{framework}.py"), "--framework", framework]
    command += ["--workload", options.workload, "--search-space", str(space)]
    command += ["--trials", str(options.trials), "--studies", "1", "--resume"]
    command += ["--experiment-dir", str(options.folder / "logs")]
    command += ["--experiment-name", f"{algorithm}-{framework}"]
    command += ["--data-dir", str(options.folder / "data")]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)


def row(
    algorithm: str, framework: str, trials: list[logs.Trial], target: Target
) -> str:
    """A line of the table."""
    name = f"validation/{target.metric}"
    hits, best = [], math.inf
    for trial in trials:
        costs = target.cost(trial.metric(name))
        reached = (costs < target.cost(target.validation)).nonzero()[0]
        best = min([best, *costs[costs == costs]])
        if len(reached):
            first = reached[0]
            seconds = trial.columns[logs.SUBMISSION_SECONDS][first]
            hits.append((seconds, int(trial.columns[logs.STEP][first])))
    fastest = f"{min(hits)[1]:,} | {min(hits)[0]:.2f}" if hits else "- | missed"
    best_metric = f"{target.cost(best):.4f}"
    return (
        f"| {algorithm} | {framework} | {len(hits)} of {len(trials)} | {best_metric} | "
        f"{fastest} |"
    )


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", default="mnist_mini")
    parser.add_argument("--space", default="tuning_search_space_mini.json")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--frameworks", nargs="+", default=["jax", "pytorch"])
    parser.add_argument("--algorithms", nargs="+", default=algorithms())
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    options.folder = options.folder or Path(tempfile.mkdtemp(prefix="algorithms-"))
    target = registry.definition(options.workload).target
    prepare = ["prepare", options.workload, "--data-dir", str(options.folder / "data")]
    subprocess.run([sys.executable, "-m", "algoperf.cli", *prepare], check=True)
    print("| algorithm | framework | reached | best validation | steps | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for algorithm in options.algorithms:
        for framework in options.frameworks:
            run(algorithm, framework, options)
            found = logs.read(options.folder / "logs" / f"{algorithm}-{framework}")
            print(row(algorithm, framework, found, target), flush=True)


if __name__ == "__main__":
    main()
