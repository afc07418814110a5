"""A small folder of logs on disk, to be spoiled in one place: see `root` and `run` in conftest."""

import json
from collections.abc import Iterator
from pathlib import Path

HEADER = "global_step,accumulated_submission_time,score,validation/accuracy\n"
GOOD = HEADER + "1,10.0,10.0,0.5\n2,20.0,20.0,0.95\n"
SLOW = HEADER + "1,10.0,10.0,0.5\n2,30.0,30.0,0.95\n"
TARGETS = {
    "base_workloads": ["alpha", "beta"],
    "workloads": {
        name: {
            "target_metric_name": "accuracy",
            "validation_target_value": 0.9,
            "test_target_value": 0.9,
            "budget_seconds": 1000,
        }
        for name in ("alpha", "beta")
    },
}


def write_trial(
    folder: Path, content: str | bytes = GOOD, **files: dict[str, object]
) -> Path:
    """A trial's folder with an evaluation file and JSON files (`meta_data_0=...`)."""
    folder.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    (folder / "eval_measurements.csv").write_bytes(data)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


def write_submission(folder: Path, content: str = GOOD, studies: int = 1) -> Path:
    for study in range(1, studies + 1):
        for workload in ("alpha", "beta"):
            write_trial(folder / f"study_{study}/{workload}_jax/trial_1", content)
    return folder


def ranked(out: str) -> dict[str, float]:
    """Scores as printed."""
    rows: Iterator[str] = iter(out.split("\n\n")[0].splitlines()[4:])
    return {row.split()[1]: float(row.split()[2]) for row in rows}
