"""`import algoperf`: the declared names, runs and results as tables."""

import ast
import math
import subprocess
import sys
from pathlib import Path

import pytest
from toy_fixtures import toy_in_processes

import algoperf
from algoperf import api
from algoperf.errors import BadLogs, BadSettings, UnknownName
from algoperf.outcome import Outcome

__all__ = ["toy_in_processes"]  # a fixture
PACKAGE = Path(algoperf.__file__).parent


def test_the_public_names_are_declared_once_for_all_readers():
    assert sorted(algoperf.__all__) == sorted([*api.__all__, "__version__"])
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    typed = {
        alias.asname
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == set(api.__all__)
    assert set(algoperf.__all__) <= set(dir(algoperf))


@pytest.mark.parametrize("name", api.__all__)
def test_every_public_name_is_documented(name):
    assert getattr(algoperf, name).__doc__


def test_importing_the_package_loads_none_of_them():
    code = "import sys, algoperf; print([m for m in sys.modules if 'algoperf.' in m])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_a_name_that_is_not_public_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = algoperf.scores  # type: ignore[attr-defined]


@pytest.fixture
def run(toy_in_processes, tmp_path):
    """Runs the toy submission for a few steps."""
    settings = toy_in_processes()

    def run(**changes):
        options = {
            "framework": "toy",
            "tuning": "self",
            "experiment_dir": tmp_path / "out",
            "data_dir": settings.data_dir,
            "num_studies": 1,
            "max_global_steps": 5,
            "eval_period_steps": 2,
            **changes,
        }
        return algoperf.run(settings.submission_path, "blobs_never", **options)

    return run


def test_a_run_returns_its_trials_as_tables_and_as_a_board(run, tmp_path):
    pytest.importorskip("pandas")
    results = run(name="mine")
    (trial,) = results
    assert trial.outcome is Outcome.NOT_REACHED
    (row,) = results.to_pandas().to_dict("records")
    assert (row["submission"], row["outcome"], row["step"]) == (
        "mine",
        "not reached",
        5,
    )
    assert row["metric"] == "accuracy" and 0 <= row["best"] <= 1
    assert row["seconds_to_validation_target"] is None
    curves = results.curves()
    assert curves["global_step"].tolist() == [1, 3, 5]
    assert (
        curves["validation/loss"].tolist() == trial.metric("validation/loss").tolist()
    )
    loaded = algoperf.load(tmp_path / "out")
    assert loaded.to_pandas().to_dict("records") == [row]
    board = loaded.leaderboard(num_studies=1)
    (entry,) = board.to_pandas().to_dict("records")
    assert (entry["rank"], entry["submission"]) == (1, "mine")
    assert math.isnan(entry["seconds/blobs_never"])
    assert board.as_dict()["submissions"][0]["score"] == entry["score"]
    assert "mine" in str(board)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"num_trails": 3}, UnknownName, "Did you mean 'num_trials'?"),
        ({"num_trials": 0}, BadSettings, "--trials is 0"),
        ({"framework": "toyy"}, UnknownName, "Did you mean 'toy'?"),
        ({"log_to": "wandbb"}, BadSettings, "Did you mean 'wandb'?"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    run, tmp_path, changes, error, said
):
    with pytest.raises(error) as caught:
        run(**changes)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_loaded_are_named(tmp_path):
    with pytest.raises(BadLogs, match="is not a folder"):
        algoperf.load(tmp_path / "none")
    with pytest.raises(BadLogs, match="Give the folder"):
        algoperf.load()
