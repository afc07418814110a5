"""The gate before a run: as fast as recorded, or refused."""

import json
import os

import pytest

from algoperf import logs, registry
from algoperf.errors import BadSettings
from algoperf.procedures import calibration
from algoperf.procedures.calibration import SlowMachine, Speed
from algoperf.runner import experiment


@pytest.fixture
def measured(monkeypatch):
    """Lets a test say what the next calibration measures."""
    speeds = []
    monkeypatch.setattr(calibration, "measure", lambda settings: ("here", speeds[-1]))
    return lambda seconds: speeds.append(Speed(seconds, 0.01))


def test_the_first_calibration_records_the_speed(toy, measured, tmp_path):
    measured(0.010)
    calibration.check(toy(), tmp_path / "speeds.json", lambda text: None)
    recorded = json.loads((tmp_path / "speeds.json").read_text())
    assert recorded == {"here": {"step_seconds": 0.010, "data_wait": 0.01}}


@pytest.mark.parametrize("seconds", [0.001, 0.010, 0.0109])
def test_a_machine_within_ten_percent_may_run(toy, measured, tmp_path, seconds):
    path = tmp_path / "speeds.json"
    said = []
    for value in (0.010, seconds):
        measured(value)
        calibration.check(toy(), path, said.append)
    assert "recorded were 10 ms" in said[1]


def test_a_slower_machine_is_refused_and_the_record_stays(toy, measured, tmp_path):
    path = tmp_path / "speeds.json"
    measured(0.010)
    calibration.check(toy(), path, lambda text: None)
    before = path.read_text()
    measured(0.012)
    with pytest.raises(SlowMachine, match=r"12 ms .* recorded .* 10 ms"):
        calibration.check(toy(), path)
    assert path.read_text() == before


def test_wrong_input_is_found_before_anything_is_measured(toy, measured, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BadSettings, match="not a regular file"):
        calibration.check(toy(), pipe)
    with pytest.raises(BadSettings, match="There is no submission file"):
        calibration.check(toy(submission_path=tmp_path / "none"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_file_that_is_no_calibration_is_refused(toy, measured, tmp_path):
    path = tmp_path / "speeds.json"
    path.write_text('{"here": {"step_seconds": "fast", "data_wait": 0}}')
    measured(0.010)
    with pytest.raises(BadSettings, match="not a calibration file"):
        calibration.check(toy(), path)


@pytest.fixture
def reference(toy, monkeypatch, tmp_path):
    """The toy submission as the reference algorithm."""
    from toy_workload import FOLDER

    folder = tmp_path / "wing" / calibration.ALGORITHM
    folder.mkdir(parents=True)
    (folder / "submission_toy.py").write_text((FOLDER / "sgd.py").read_text())
    (folder / "tuning_search_space.json").write_text('[{"learning_rate": 0.1}]')
    monkeypatch.setattr(registry, "wing_folder", lambda wing: tmp_path / "wing")
    return toy(workload="blobs_never")


def test_a_calibration_times_steps_of_the_reference_algorithm(reference):
    key, speed = calibration.measure(reference)
    facts = json.loads(key)
    assert facts["workload"] == "blobs_never" and "numpy" in facts["versions"]
    assert 0 < speed.step_seconds < 1
    assert not reference.experiment_dir.exists()


def test_compilation_in_the_first_step_is_no_part_of_the_speed(reference, tmp_path):
    experiment.run(
        reference.__class__(
            **{
                **vars(reference),
                "num_trials": 1,
                "max_global_steps": 41,
                "eval_period_steps": 20,
            }
        )
    )
    (trial,) = logs.read(reference.experiment_dir)
    seconds = trial.columns[logs.SUBMISSION_SECONDS]
    speed = calibration.speed_of(trial)
    assert speed.step_seconds <= (seconds[-1] - seconds[0]) / 20
