import dataclasses
import json
from pathlib import Path

import pytest

from algoperf.errors import AlgoPerfError, BadSettings, UnknownName
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import (
    DATA_DIR_VARIABLE,
    Settings,
    default_data_dir,
)

COUNTS = (
    "num_trials",
    "num_studies",
    "first_study",
    "first_trial",
    "last_trial",
    "num_processes",
    "max_global_steps",
)


def settings(**changes) -> Settings:
    values = {
        "submission_path": Path("submission.py"),
        "framework": "jax",
        "workload": "mnist_mini",
        "experiment_dir": Path("experiments"),
        "experiment_name": "mine",
        "data_dir": Path("data"),
        "search_space": Path("space.json"),
    }
    return Settings(**{**values, **changes})


def test_the_default_ruleset_is_the_papers_under_external_tuning():
    assert (settings().rules.name, settings().tuning) == ("paper", "external")


def test_settings_know_their_workloads_definition():
    assert settings().definition.name == "mnist_mini"


def test_prepared_data_of_a_workload_lies_in_the_data_folder():
    assert settings().data_folder == Path("data/mnist_mini")


def test_an_unknown_workload_is_refused_with_a_near_name():
    with pytest.raises(UnknownName, match="Did you mean 'mnist_mini'"):
        _ = settings(workload="mnist_mimi").definition


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"framework": "jaxx"}, "Did you mean 'jax'"),
        ({"framework": "tensorflow"}, "Choose one of: jax, pytorch"),
        ({"tuning": "both"}, "Choose one of: external, self"),
        ({"precision": "fp16"}, "Choose one of: float32, bf16"),
        ({"search_space": None}, "--tuning-ruleset self"),
        ({"tuning": "self"}, r"takes no search space, but got space\.json"),
        ({"num_processes": 2}, "num_processes is 2, but jax"),
        ({"experiment_name": ""}, "experiment_name is ''"),
        ({"experiment_name": "a/b"}, "experiment_name is 'a/b'"),
        ({"experiment_name": ".."}, r"experiment_name is '\.\.'"),
        ({"experiment_name": "."}, r"experiment_name is '\.'"),
    ],
)
def test_a_wrong_setting_is_refused(changes, said):
    with pytest.raises(AlgoPerfError, match=said):
        settings(**changes)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_counts_are_at_least_one(name, value):
    with pytest.raises(BadSettings, match=f"{name} is {value}; it must be at least 1"):
        settings(framework="pytorch", **{name: value})


def test_pytorch_may_use_several_processes():
    assert settings(framework="pytorch", num_processes=2).num_processes == 2


def test_self_tuning_needs_no_search_space():
    assert settings(tuning="self", search_space=None).search_space is None


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings().seed = 1


@pytest.mark.parametrize("changes", [{}, {"tuning": "self", "search_space": None}])
def test_settings_survive_json(changes):
    before = settings(max_global_steps=7, on_existing="resume", **changes)
    assert Settings.from_json(json.loads(json.dumps(before.as_json()))) == before


@pytest.mark.parametrize("point", [None, {"rate": 0.1 + 0.2, "layers": 3, "name": "a"}])
def test_a_plan_survives_being_written_down(point):
    plan = TrialPlan(settings(), study=2, trial=3, seed=2**63 - 1, point=point)
    assert TrialPlan.loads(plan.dumps()) == plan


def test_the_data_folder_can_be_set_in_the_environment(monkeypatch):
    monkeypatch.setenv(DATA_DIR_VARIABLE, "/mnt/data")
    assert default_data_dir() == Path("/mnt/data")


def test_prepared_data_lies_in_the_users_cache_by_default(monkeypatch):
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    assert default_data_dir() == Path.home() / ".cache" / "algoperf"
