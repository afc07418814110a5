"""What the instruments show of trainings that go wrong, on the digits."""

import json
from pathlib import Path

import numpy as np
import pytest

from algoperf import cli, logs
from algoperf.runner import experiment
from algoperf.runner.settings import Settings

SUBMISSION = Path(__file__).parent / "broken" / "submission.py"
STEPS = 61
CASES = {
    "healthy": {"learning_rate": 3e-3},
    "too_small": {"learning_rate": 3e-5},
    "unscaled": {"learning_rate": 3e-3, "fault": "unscaled"},
}


def run_case(name: str, data_dir: Path, experiments: Path) -> Path:
    """Trains with one fault under economy instruments; returns the trial's folder."""
    space = experiments / f"{name}.json"
    experiments.mkdir(exist_ok=True)
    space.write_text(json.dumps([CASES[name]]))
    settings = Settings(
        submission_path=SUBMISSION,
        framework="pytorch",
        workload="mnist_mini",
        experiment_dir=experiments,
        experiment_name=name,
        data_dir=data_dir,
        search_space=space,
        num_trials=1,
        num_studies=1,
        max_global_steps=STEPS,
        eval_period_steps=STEPS - 1,
        isolate=False,
        cockpit="economy",
        cockpit_every="4",
    )
    assert experiment.run(settings)
    (trial,) = logs.read(experiments / name)
    return trial.folder


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    pytest.importorskip("torch")
    from algoperf.scoring.cockpit import record

    data_dir = tmp_path_factory.mktemp("data")
    assert cli.main(["prepare", "mnist_mini", "--data-dir", str(data_dir)]) == 0
    experiments = tmp_path_factory.mktemp("logs")
    return {name: record.load(run_case(name, data_dir, experiments)) for name in CASES}


def clipped(record):
    """The share of gradient elements in the end bins, at the last measured step."""
    _, value = record.measured.last("GradHist1d")
    counts = np.asarray(value["counts"])
    return (counts[0] + counts[-1]) / counts.sum()


def mean(record, name):
    return float(record.series(name).finite().mean())


@pytest.mark.slow
def test_alpha_tells_steps_that_are_too_short(records):
    assert (
        mean(records["too_small"], "Alpha") < mean(records["healthy"], "Alpha") - 0.15
    )


@pytest.mark.slow
def test_inputs_that_are_not_normalised_saturate_the_hidden_units(records):
    # What is left of the gradients lies along one direction, and nearly all elements vanish.
    healthy, unscaled = records["healthy"], records["unscaled"]
    assert mean(unscaled, "InnerTest") > 2 * mean(healthy, "InnerTest")
    assert clipped(unscaled) < clipped(healthy) / 10
    losses = {name: r.series("Loss").recent().mean() for name, r in records.items()}
    assert losses["unscaled"] > losses["healthy"]
