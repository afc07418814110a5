"""Sets a workload's targets by the benchmark's procedure (arXiv 2306.07179, section 5.1).

Four reference algorithms try points of their search spaces, each within three quarters of what
submissions get. The point with the best validation value is repeated with new seeds. The
validation target is the median over the repeats of the best validation value; the test target is
the worst test value among the repeats that reached the validation target.
"""

import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf import logs, registry
from algoperf.definition import Target
from algoperf.errors import BadLogs
from algoperf.logs import Trial
from algoperf.runner import experiment
from algoperf.runner.settings import Settings

ALGORITHMS = ("adamw", "nadamw", "nesterov", "heavy_ball")


@dataclass(frozen=True)
class TargetSearch:
    """What the procedure found."""

    target: Target
    algorithm: str
    point: dict[str, object]
    validation_values: tuple[float, ...]  # of the repeats: each one's best
    test_values: tuple[float, ...]  # likewise; empty where there is no test target


def best_value(trial: Trial, target: Target, split: str) -> float:
    """The best finite value of the target metric on a split; the worst possible if none."""
    values = trial.metric(f"{split}/{target.metric}")
    values = values[np.isfinite(values)]
    sign = 1.0 if target.better == "higher" else -1.0
    return sign * float(max(sign * values, default=-np.inf))


def targets_from(repeats: Sequence[Trial], target: Target) -> Target:
    """The targets that repeats of the best point set; `target` gives metric and direction."""
    validation = [best_value(trial, target, "validation") for trial in repeats]
    median = statistics.median(validation)
    if target.test is None:
        return Target(target.metric, median, None, target.better)
    # The median itself counts as reached here: targets must be beaten strictly, later.
    tests = [
        best_value(trial, target, "test")
        for trial, value in zip(repeats, validation, strict=True)
        if value == median or target.is_better(value, median)
    ]
    worst = min(tests) if target.better == "higher" else max(tests)
    return Target(target.metric, median, worst, target.better)


def search(
    workload: str,
    framework: str,
    data_dir: Path,
    *,
    num_trials: int,
    num_repeats: int,
    seed: int = 0,
    algorithms: Sequence[str] = ALGORITHMS,
    say: Callable[[str], None] = print,
) -> TargetSearch:
    """Runs the procedure: `num_trials` points of each algorithm, then the repeats."""
    definition = registry.definition(workload)
    with tempfile.TemporaryDirectory(prefix="algoperf-targets-") as folder:

        def run(
            name: str, space: Path, trials: int, studies: int, seed: int
        ) -> list[Trial]:
            algorithm = name.removeprefix("repeat_")
            wing = registry.wing_folder("reference_algorithms") / algorithm
            settings = Settings(
                submission_path=wing / f"submission_{framework}.py",
                framework=framework,
                workload=workload,
                experiment_dir=Path(folder),
                experiment_name=name,
                data_dir=data_dir,
                search_space=space,
                num_trials=trials,
                num_studies=studies,
                seed=seed,
                save_checkpoints=False,
                target_setting=True,
            )
            experiment.run(settings, say)
            return logs.read(Path(folder) / name)

        tried = []
        for algorithm in algorithms:
            wing = registry.wing_folder("reference_algorithms") / algorithm
            space = wing / "tuning_search_space.json"
            tried += run(algorithm, space, num_trials, 1, seed)
        target = definition.target
        best = _best(tried, target)
        point = dict(best.hyperparameters or {})
        say(
            f"best: {best.id.submission}, {best_value(best, target, 'validation'):g}, {point}"
        )
        only = Path(folder) / "point.json"
        only.write_text(json.dumps([point]))
        name = best.id.submission
        repeats = run(f"repeat_{name}", only, 1, num_repeats, seed + 1)
    return TargetSearch(
        targets_from(repeats, target),
        name,
        point,
        _best_values(repeats, target, "validation"),
        () if target.test is None else _best_values(repeats, target, "test"),
    )


def _best_values(
    repeats: Sequence[Trial], target: Target, split: str
) -> tuple[float, ...]:
    return tuple(best_value(trial, target, split) for trial in repeats)


def _best(trials: Sequence[Trial], target: Target) -> Trial:
    measured = [trial for trial in trials if trial.num_evaluations]
    if not measured:
        raise BadLogs(
            "No trial of the target setting was evaluated; see the messages above."
        )
    sign = 1.0 if target.better == "higher" else -1.0
    return max(
        measured, key=lambda trial: sign * best_value(trial, target, "validation")
    )
