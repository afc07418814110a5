"""What evaluations of `_mini` workloads cost, and how coarse their times to target are.

    OMP_NUM_THREADS=1 python benchmarks/evaluation_grid.py finewebedu_lm_mini --framework jax

NadamW (the third point of its published list) is run for some steps and evaluated every few.
Printed are the processor time of a step and of an evaluation, medians; the evaluation period at
which evaluations take a tenth of the run; and both periods as a share of the time to target, where
`--steps-to-target` says how many steps that is. With one thread, on a machine that does nothing
else, processor time is wall time.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from algoperf import registry
from algoperf.runner import experiment
from algoperf.runner.evaluation import Evaluator
from algoperf.runner.settings import Settings, default_data_dir

SHARE = 0.1  # of a run, at most, that its evaluations should take
STEPS_BETWEEN = 5
STUDY, TRIAL = 1, 3


class TimedEvaluations:
    """Notes the processor time at the begin and the end of every evaluation."""

    def __init__(self, evaluate: Callable[..., Any]) -> None:
        self.begins: list[float] = []
        self.ends: list[float] = []
        self._evaluate = evaluate

    def __call__(self, *args: Any) -> Any:
        self.begins.append(time.process_time())
        result = self._evaluate(*args)
        self.ends.append(time.process_time())
        return result

    def evaluation_seconds(self) -> float:
        """Median, without the first evaluation, which compiles."""
        spans = zip(self.begins[1:], self.ends[1:], strict=True)
        return statistics.median(end - begin for begin, end in spans)

    def step_seconds(self) -> float:
        """Median over the intervals between evaluations, without the first."""
        spans = zip(self.ends[1:-1], self.begins[2:], strict=True)
        return statistics.median((b - a) / STEPS_BETWEEN for a, b in spans)


def measure(
    workload: str, framework: str, data_dir: Path, steps: int
) -> TimedEvaluations:
    """Runs NadamW for so many steps."""
    original = Evaluator.evaluate
    timed = TimedEvaluations(original)
    wing = registry.wing_folder("reference_algorithms") / "nadamw"
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            submission_path=wing / f"submission_{framework}.py",
            framework=framework,
            workload=workload,
            experiment_dir=Path(folder),
            experiment_name="nadamw",
            data_dir=data_dir,
            search_space=wing / "optlist.json",
            num_trials=TRIAL,
            num_studies=STUDY,
            first_trial=TRIAL,
            last_trial=TRIAL,
            max_global_steps=steps,
            eval_period_steps=STEPS_BETWEEN,
            save_checkpoints=False,
            isolate=False,
        )
        Evaluator.evaluate = lambda self, *args: timed(self, *args)  # type: ignore[method-assign]
        try:
            experiment.run(settings, lambda text: None)
        finally:
            Evaluator.evaluate = original  # type: ignore[method-assign]
    return timed


def main() -> None:
    """Measures one workload in one framework."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workload")
    parser.add_argument("--framework", required=True)
    parser.add_argument("--steps", type=int, default=51)
    parser.add_argument("--steps-to-target", type=int)
    parser.add_argument("--data-dir", type=Path, default=default_data_dir())
    options = parser.parse_args()
    timed = measure(
        options.workload, options.framework, options.data_dir, options.steps
    )
    step, evaluation = timed.step_seconds(), timed.evaluation_seconds()
    period = registry.definition(options.workload).eval_period_seconds
    cheapest = evaluation * (1 - SHARE) / SHARE
    print(
        f"{options.workload}, {options.framework}: a step {1e3 * step:.1f} ms, an evaluation "
        f"{1e3 * evaluation:.0f} ms ({evaluation / step:.1f} steps); with a period of "
        f"{period:g} s evaluations take {evaluation / (period + evaluation):.1%}, "
        f"{SHARE:.0%} with one of {cheapest:.2f} s"
    )
    if options.steps_to_target:
        seconds = step * options.steps_to_target
        print(
            f"  to target {seconds:.0f} s ({options.steps_to_target} steps): the grid is "
            f"{period / seconds:.1%}, {cheapest / seconds:.1%} at {SHARE:.0%}"
        )


if __name__ == "__main__":
    main()
