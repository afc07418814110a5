"""Runs the toy benchmark in processes of its own, as a user would."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TOY_FOLDER = Path(__file__).parent
ROOT = TOY_FOLDER.parents[1]
PATIENCE_SECONDS = 120.0  # of tests, on a busy machine


def environment() -> dict[str, str]:
    """In which child processes know the toy benchmark."""
    folders = [str(TOY_FOLDER / "site"), str(ROOT)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(folders),
        "OMP_NUM_THREADS": "1",
    }


def command(settings, *arguments: str) -> list[str]:
    """`algoperf run` with the settings of a test."""
    words = [sys.executable, "-m", "algoperf.cli", "run", str(settings.submission_path)]
    options = {
        "--framework": settings.framework,
        "--workload": settings.workload,
        "--search-space": settings.search_space,
        "--data-dir": settings.data_dir,
        "--experiment-dir": settings.experiment_dir,
        "--experiment-name": settings.experiment_name,
        "--trials": settings.num_trials,
        "--studies": settings.num_studies,
        "--max-steps": settings.max_global_steps,
        "--eval-every-steps": settings.eval_period_steps,
        "--hang-seconds": settings.hang_seconds,
        "--notice-seconds": settings.notice_seconds,
        "--num-processes": settings.num_processes,
    }
    for name, value in options.items():
        if value is not None:
            words += [name, str(value)]
    return [*words, *arguments]


def start(settings, *arguments: str) -> subprocess.Popen:
    """`algoperf run`, begun."""
    return subprocess.Popen(
        command(settings, *arguments),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(is_true: Callable[[], bool], what: str) -> None:
    """Returns as soon as it is."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < until, f"waited in vain: {what}"
        time.sleep(0.01)


def num_rows(folder: Path) -> int:
    """Evaluations that a trial's logs hold by now."""
    path = folder / "eval_measurements.csv"
    try:
        return max(0, path.read_text().count("\n") - 1)
    except FileNotFoundError:
        return 0
