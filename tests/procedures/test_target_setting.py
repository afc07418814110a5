"""Target setting: what is searched, what is repeated, and the targets that follow."""

import json
import math

import numpy as np
import pytest

from algoperf import cli, registry
from algoperf.definition import Target
from algoperf.errors import BadSettings
from algoperf.logs import Trial, TrialId
from algoperf.procedures import target_setting
from algoperf.procedures.target_setting import SearchPlan, targets_from

LOSS = Target("loss", 1.0, 1.0, "lower")


def repeat(tmp_path, validation, test):
    columns = {
        "validation/loss": np.array(validation),
        "test/loss": np.array(test),
    }
    return Trial(TrialId("a", 1, "w", "jax", 1), tmp_path, columns, None, {}, None)


def test_targets_are_the_median_and_the_worst_test_value_of_those_that_reach_it(
    tmp_path,
):
    repeats = [
        repeat(tmp_path, [9.0, 3.0], [8.0, 2.9]),
        repeat(tmp_path, [2.0, 9.0], [3.5, 9.0]),
        repeat(tmp_path, [4.0, math.nan], [5.0, 1.0]),
    ]
    # Reached: 3 (the median itself) and 2, whose best test values are 2.9 and 3.5.
    assert targets_from(repeats, LOSS) == Target("loss", 3.0, 3.5, "lower")
    without = Target("loss", 1.0, None, "lower")
    assert targets_from(repeats, without) == Target("loss", 3.0, None, "lower")


@pytest.fixture
def algorithms(toy_in_processes, monkeypatch, tmp_path):
    """Two algorithms with search spaces, and a plan for the toy benchmark."""
    from toy_workload import FOLDER

    space = {
        "learning_rate": {"min": 0.01, "max": 0.5, "scaling": "log"},
        "label_smoothing": {"feasible_points": [0.1, 0.2]},
    }
    for name in ("adamw", "nadamw"):
        folder = tmp_path / "wing" / name
        folder.mkdir(parents=True)
        (folder / "submission_toy.py").write_text((FOLDER / "sgd.py").read_text())
        (folder / "tuning_search_space.json").write_text(json.dumps(space))
    monkeypatch.setattr(registry, "wing_folder", lambda wing: tmp_path / "wing")
    settings = toy_in_processes()

    def plan(**changes):
        values = {"algorithms": ("adamw", "nadamw"), "num_trials": 2, "num_repeats": 3}
        return SearchPlan("blobs", "toy", settings.data_dir, **{**values, **changes})

    return plan


def test_what_is_fixed_has_one_value_in_every_search_space(algorithms):
    plan = algorithms(fixed={"label_smoothing": 0.0})
    for algorithm in plan.algorithms:
        space = plan.space(algorithm)
        assert space["label_smoothing"] == {"feasible_points": [0.0]}
        assert space["learning_rate"]["max"] == 0.5
    assert algorithms().space("adamw")["label_smoothing"] != space["label_smoothing"]


def test_fixing_what_an_algorithm_lacks_is_refused_before_anything_runs(algorithms):
    said = []
    with pytest.raises(BadSettings, match=r"Did you mean 'label_smoothing'\?"):
        target_setting.search(algorithms(fixed={"label_smooth": 0.0}), said.append)
    assert not said


@pytest.mark.slow
def test_the_best_point_is_repeated_with_new_seeds(algorithms):
    plan = algorithms(algorithms=("adamw",), fixed={"label_smoothing": 0.0})
    said = []
    found = target_setting.search(plan, said.append)
    assert found.algorithm == "adamw"
    assert found.point["label_smoothing"] == 0.0
    assert 0.01 <= found.point["learning_rate"] <= 0.5
    assert len(found.validation_values) == len(found.test_values) == 3
    assert found.target.validation == sorted(found.validation_values)[1]
    assert any(text.startswith("best: adamw") for text in said)


@pytest.mark.parametrize("text", ["label_smoothing", "label_smoothing=", "=1", "a=nan"])
def test_what_is_no_name_and_number_is_refused(text, capsys):
    words = ["targets", "mnist_mini", "--framework", "jax", "--fix", text]
    assert cli.main(words) == 2
    assert "must be NAME=VALUE with a number" in capsys.readouterr().err


def test_one_name_has_one_value(capsys):
    words = ["targets", "mnist_mini", "--framework", "jax", "--fix", "a=1", "a=2"]
    assert cli.main(words) == 2
    assert "--fix names a hyperparameter twice" in capsys.readouterr().err
