"""Which machines may share a study."""

import subprocess

import pytest

from algoperf.campaign import attempt, hardware
from algoperf.campaign.attempt import Job
from algoperf.campaign.hardware import UnfitMachine
from algoperf.campaign.ledger import Campaign
from algoperf.campaign.verdict import Cause, State
from algoperf.procedures import calibration

V100 = {"cpu": "x", "gpus": ["V100"], "gpu_count": 8, "driver": ["550"]}


@pytest.fixture
def trials(make_plan):
    return Campaign(make_plan())


def first(campaign, study=1):
    return next(t for t in campaign.trials.values() if t.study == study)


def test_the_first_trial_of_a_study_sets_its_hardware(trials, monkeypatch):
    monkeypatch.setattr(hardware, "facts", lambda: dict(V100))
    hardware.check(trials.folder, first(trials))
    hardware.check(trials.folder, first(trials))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gpus": ["A100"]}, r"gpus \['A100'\] instead of \['V100'\]"),
        ({"gpu_count": 4}, "gpu_count 4 instead of 8"),
        ({"driver": ["560"]}, "driver"),
        ({"cpu": "y"}, "cpu 'y' instead of 'x'"),
    ],
)
def test_other_hardware_within_a_study_is_refused(trials, monkeypatch, change, words):
    monkeypatch.setattr(hardware, "facts", lambda: dict(V100))
    hardware.check(trials.folder, first(trials))
    monkeypatch.setattr(hardware, "facts", lambda: {**V100, **change})
    with pytest.raises(UnfitMachine, match=f"{words}.*--unscored"):
        hardware.check(trials.folder, first(trials))
    hardware.check(trials.folder, first(trials, study=2))  # another study may


def test_an_attempt_on_other_hardware_runs_nothing_and_says_so(trials, monkeypatch):
    monkeypatch.setattr(hardware, "facts", lambda: dict(V100))
    hardware.check(trials.folder, first(trials))
    monkeypatch.setattr(hardware, "facts", lambda: {**V100, "gpu_count": 4})
    monkeypatch.setattr(attempt, "launch", lambda plan: pytest.fail("it ran"))
    assert attempt.run(Job(first(trials), trials.folder)) == 1
    verdict = trials.look(next(iter(trials.trials))).verdict
    assert (verdict.state, verdict.cause) == (State.FAILED, Cause.HARDWARE)


def test_a_machine_is_calibrated_once(trials, monkeypatch):
    asked = []
    monkeypatch.setattr(calibration, "check", lambda *arguments: asked.append(1))
    settings = first(trials).settings
    for _ in range(3):
        hardware.calibrate_once(trials.folder, settings)
    assert asked == [1]


def test_a_slow_machine_is_unfit(trials, monkeypatch):
    def slow(*arguments):
        raise calibration.SlowMachine("A step takes too long")

    monkeypatch.setattr(calibration, "check", slow)
    with pytest.raises(UnfitMachine, match="A step takes too long"):
        hardware.calibrate_once(trials.folder, first(trials).settings)


def test_gpus_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 3")
    assert hardware.gpu_count() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert hardware.gpu_count() == 0


def test_models_and_drivers_are_read_from_nvidia_smi(monkeypatch):
    output = "NVIDIA A100-SXM4-40GB, 550.54.15\nNVIDIA A100-SXM4-40GB, 550.54.15\n"
    done = subprocess.CompletedProcess([], 0, output, "")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    found = hardware.facts()
    assert found["gpus"] == ["NVIDIA A100-SXM4-40GB"]
    assert (found["gpu_count"], found["driver"]) == (2, ["550.54.15"])
