"""Sets a workload's targets by the benchmark's procedure (arXiv 2306.07179, section 5.1).

Four reference algorithms try points of their search spaces, each within three quarters of what
submissions get. The point with the best validation value is repeated with new seeds. The
validation target is the median over the repeats of the best validation value; the test target is
the worst test value among the repeats that reached the validation target.
"""

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from algoperf import logs, registry
from algoperf.definition import Target
from algoperf.errors import BadLogs, BadSettings, near
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
    costs = target.cost(values)
    return float(target.cost(min(costs, default=np.inf)))


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
    worst = max(tests, key=target.cost)
    return Target(target.metric, median, worst, target.better)


@dataclass(frozen=True)
class SearchPlan:
    """What `search` tries: points of each algorithm, then repeats of the best one."""

    workload: str
    framework: str
    data_dir: Path
    num_trials: int
    num_repeats: int
    seed: int = 0
    algorithms: Sequence[str] = ALGORITHMS
    # Hyperparameters that have this one value instead of their range.
    fixed: Mapping[str, float] = field(default_factory=dict)

    def space(self, algorithm: str) -> dict[str, object]:
        """The algorithm's search space; `BadSettings` if it lacks what is fixed."""
        path = _folder(algorithm) / "tuning_search_space.json"
        space = json.loads(path.read_text())
        for name, value in self.fixed.items():
            if name not in space:
                raise BadSettings(
                    f"--fix {name}={value:g}: {algorithm} has no hyperparameter "
                    f"{name!r}.{near(name, space)} It has: {', '.join(space)}."
                )
            space[name] = {"feasible_points": [value]}
        return dict(space)

    def settings(self, algorithm: str, name: str, folder: Path) -> Settings:
        """Of one experiment, with its search space in `folder`/`name`.json."""
        return Settings(
            submission_path=_folder(algorithm) / f"submission_{self.framework}.py",
            framework=self.framework,
            workload=self.workload,
            experiment_dir=folder,
            experiment_name=name,
            data_dir=self.data_dir,
            search_space=folder / f"{name}.json",
            num_trials=self.num_trials,
            num_studies=1,
            seed=self.seed,
            save_checkpoints=False,
            target_setting=True,
        )


def _folder(algorithm: str) -> Path:
    return registry.wing_folder("reference_algorithms") / algorithm


def search(plan: SearchPlan, say: Callable[[str], None] = print) -> TargetSearch:
    """Runs the procedure: `num_trials` points of each algorithm, then the repeats."""
    target = registry.definition(plan.workload).target
    spaces = {algorithm: plan.space(algorithm) for algorithm in plan.algorithms}
    with tempfile.TemporaryDirectory(prefix="algoperf-targets-") as name:
        folder = Path(name)

        def run(settings: Settings, space: object) -> list[Trial]:
            assert settings.search_space is not None
            settings.search_space.write_text(json.dumps(space))
            experiment.run(settings, say)
            return logs.read(folder / settings.experiment_name)

        tried = []
        for algorithm, space in spaces.items():
            tried += run(plan.settings(algorithm, algorithm, folder), space)
        best = _best(tried, target)
        algorithm, point = best.id.submission, dict(best.hyperparameters or {})
        value = best_value(best, target, "validation")
        say(f"best: {algorithm}, {value:g}, {point}")
        repeats = run(
            replace(
                plan.settings(algorithm, f"repeat_{algorithm}", folder),
                num_trials=1,
                num_studies=plan.num_repeats,
                seed=plan.seed + 1,
            ),
            [point],
        )
    return TargetSearch(
        targets_from(repeats, target),
        algorithm,
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
    return min(
        measured, key=lambda trial: target.cost(best_value(trial, target, "validation"))
    )
