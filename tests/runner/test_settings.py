import dataclasses
import json
from pathlib import Path

import pytest

from algoperf import logs
from algoperf.errors import AlgoPerfError, BadSettings, UnknownName
from algoperf.runner import experiment
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import (
    DATA_DIR_VARIABLE,
    Settings,
    default_data_dir,
    default_experiment_name,
)

COUNTS = {
    "num_trials": "--trials",
    "num_studies": "--studies",
    "first_study": "--first-study",
    "first_trial": "--first-trial",
    "last_trial": "--last-trial",
    "num_processes": "--num-processes",
    "max_global_steps": "--max-steps",
    "eval_period_steps": "--eval-every-steps",
}


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
    assert settings(data_dir=Path("/data")).data_folder == Path("/data/mnist_mini")


def test_paths_are_absolute_from_the_start(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    made = settings(submission_path=Path("../up/s.py"), data_dir=Path("/data"))
    monkeypatch.chdir("/")
    assert made.submission_path == tmp_path / "../up/s.py"
    assert made.experiment_dir == tmp_path / "experiments"
    assert made.search_space == tmp_path / "space.json"
    assert made.data_dir == Path("/data")


def test_a_submission_may_change_the_current_directory(
    toy_in_processes, written, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    made = toy_in_processes(
        submission_path=written("import os; os.chdir('/')"),
        workload="blobs_never",
        experiment_dir=Path("logs"),
        max_global_steps=3,
        eval_period_steps=1,
    )
    said = []
    assert experiment.run(made, said.append), said
    (trial,) = logs.read(tmp_path / "logs")
    assert trial.num_evaluations == 3


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
        ({"tuning": "self"}, r"takes no search space, but got /.*/space\.json"),
        ({"num_processes": 2}, "--num-processes is 2, but jax"),
        ({"experiment_name": ""}, "--experiment-name is ''"),
        ({"experiment_name": "a/b"}, "--experiment-name is a/b"),
        ({"experiment_name": ".."}, r"--experiment-name is \.\."),
        ({"experiment_name": ".hidden"}, "hidden folders"),
        ({"experiment_name": "a\nb"}, r"--experiment-name is 'a\\nb'"),
        ({"experiment_name": "\udcff"}, "printable"),
        ({"experiment_name": "é" * 128}, "at most 255 bytes"),
        ({"first_trial": 3, "last_trial": 2}, "2 comes before --first-trial 3"),
        ({"seed": -1}, "--seed is -1; it must be a number from 0"),
        ({"seed": 2**63}, "--seed is 9223372036854775808"),
        ({"hang_seconds": 0.0}, "--hang-seconds is 0; it must be above 0"),
        ({"hang_seconds": float("nan")}, "--hang-seconds is nan"),
        ({"hang_seconds": 1e300}, r"--hang-seconds is 1e\+300"),
        ({"num_trials": 1_000, "num_studies": 1_000}, "makes 1,000,000 trials"),
    ],
)
def test_a_wrong_setting_is_refused(changes, said):
    with pytest.raises(AlgoPerfError, match=said):
        settings(**changes)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_counts_are_at_least_one(name, value):
    said = f"{COUNTS[name]} is {value}; it must be at least 1"
    with pytest.raises(BadSettings, match=said):
        settings(framework="pytorch", **{name: value})


@pytest.mark.parametrize("name", COUNTS)
def test_counts_that_no_machine_can_serve_are_refused(name):
    with pytest.raises(BadSettings, match=f"{COUNTS[name]} is 9+; it must be at most"):
        settings(framework="pytorch", **{name: 99999999999999999999})


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


def test_the_data_folder_in_the_environment_is_expanded(monkeypatch):
    monkeypatch.setenv("DISK", "/mnt")
    monkeypatch.setenv(DATA_DIR_VARIABLE, "$DISK/data")
    assert default_data_dir() == Path("/mnt/data")
    monkeypatch.setenv(DATA_DIR_VARIABLE, "~/data")
    assert default_data_dir() == Path.home() / "data"
    monkeypatch.setenv(DATA_DIR_VARIABLE, "$NO_SUCH_DISK/data")
    with pytest.raises(BadSettings, match=f"{DATA_DIR_VARIABLE}: .*--data-dir"):
        default_data_dir()


def test_prepared_data_lies_in_the_users_cache_by_default(monkeypatch):
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    assert default_data_dir() == Path.home() / ".cache" / "algoperf"


def test_a_submission_is_called_as_its_folder_through_links(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "submission.py").touch()
    (tmp_path / "link.py").symlink_to(tmp_path / "mine" / "submission.py")
    assert default_experiment_name(tmp_path / "link.py") == "mine"
    assert default_experiment_name(tmp_path / "mine" / "submission.py") == "mine"
    assert default_experiment_name(Path("/submission.py")) == "submission"
