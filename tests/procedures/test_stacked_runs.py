"""Many points in one program: results are those of single runs up to rounding."""

import json

import numpy as np
import pytest

from algoperf import logs, registry
from algoperf.errors import BadSettings
from algoperf.outcome import Outcome
from algoperf.procedures import shared_runs
from algoperf.runner import setup
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import Settings

pytest.importorskip("flax")
FAMILY = registry.wing_folder("reference_algorithms") / "crowded_valley"
MEMBERS = registry.module("reference_algorithms", "crowded_valley", "spaces").MEMBERS


NUM_EPOCHS = 10  # of 7 steps


def plans_in(folder, points, workload="quadratic_deep"):
    """A plan for each point; every second one has another seed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "points.json").write_text(json.dumps([{"optimizer": "sgd"}]))
    settings = Settings(
        FAMILY / "submission_jax.py",
        "jax",
        workload,
        folder,
        "family",
        data_dir=folder / "data",
        search_space=folder / "points.json",
        max_global_steps=7 * NUM_EPOCHS,
        save_checkpoints=False,
        keep_evidence=False,
    )
    return [
        TrialPlan(settings, 42 + i % 2, i + 1, 7 + i % 2, point)
        for i, point in enumerate(points)
    ]


def losses_of(plan) -> np.ndarray:
    columns = logs.read_trial(plan.id, plan.folder).columns
    return np.stack([columns[f"{s}/loss"] for s in ("train", "validation", "test")])


@pytest.fixture(scope="module")
def stacked():
    from algoperf.procedures import stacked_jax

    return stacked_jax


def run_stacked(stacked, plans) -> list[str]:
    told = []
    stacked.run_all(plans, lambda plan, outcome: told.append(outcome))
    return told


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMBERS)
def test_curves_are_those_of_single_runs_up_to_rounding(tmp_path, stacked, name):
    rates = {"learning_rate": 3 * MEMBERS[name].defaults["learning_rate"]}
    schedule = {"schedule": "ltr", "num_epochs": 100}
    points = [{"optimizer": name}, {"optimizer": name, **rates}]
    points = [{**point, **schedule} for point in points]
    together = plans_in(tmp_path / "together", points)
    assert run_stacked(stacked, together) == ["not reached"] * 2
    backend = setup.load_backend(together[0].settings)
    alone = shared_runs.SharedRuns(backend)
    for plan, single in zip(
        together, plans_in(tmp_path / "alone", points), strict=True
    ):
        assert alone.run(single).outcome is Outcome.NOT_REACHED
        found, expected = losses_of(plan), losses_of(single)
        assert found.shape == expected.shape == (3, NUM_EPOCHS + 1)
        np.testing.assert_allclose(found, expected, rtol=2e-5)


@pytest.mark.slow
def test_a_run_that_diverges_is_cut_there_and_the_others_go_on(tmp_path, stacked):
    points = [{"optimizer": "sgd", "learning_rate": rate} for rate in (1e30, 0.01)]
    plans = plans_in(tmp_path, points)
    assert run_stacked(stacked, plans) == ["diverged", "not reached"]
    assert losses_of(plans[0]).shape == (3, 2)
    assert losses_of(plans[1]).shape == (3, NUM_EPOCHS + 1)
    assert losses_of(plans[1])[2, -1] < 120
    ended = logs.read_outcome(plans[0].folder)
    assert shared_runs.CAVEAT in ended.caveats
    assert run_stacked(stacked, plans) == []  # given again, nothing is left


def test_a_stack_has_one_optimizer_and_few_runs(tmp_path, stacked):
    points = [{"optimizer": name} for name in ["sgd", "adam"] * 30]
    sizes = [len(stack) for stack in stacked.stacks_of(plans_in(tmp_path, points))]
    assert sizes == [25, 5, 25, 5]


def test_a_workload_that_is_not_trained_by_epochs_is_refused(tmp_path, stacked):
    (plan,) = plans_in(tmp_path, [{"optimizer": "sgd"}], "mnist_mini")
    with pytest.raises(BadSettings, match="Leave --stacked out"):
        stacked.run_all([plan], lambda plan, outcome: None)
