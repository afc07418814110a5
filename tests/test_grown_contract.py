"""What a workload's definition may ask for beyond the benchmark's own, on toy workloads."""

import dataclasses

import numpy as np
import pytest
import toy_backend
import toy_family

from algoperf import frameworks, logs, plugins, registry, rulesets
from algoperf.errors import AlgoPerfError, BadSettings
from algoperf.logs import Outcome
from algoperf.parameter_loss import WithParameterLoss
from algoperf.pipeline import DataRequest
from algoperf.runner import experiment
from algoperf.runner.evaluation import Evaluator
from algoperf.workload import Workload

DEFINITION = toy_family.DEFINITIONS[0]
SUBMISSION = """
def get_batch_size(workload_name):
    return 4


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {"carried": []}


def update_params(workload, current_param_container, current_params_types, model_state,
                  hyperparameters, batch, loss_type, optimizer_state, eval_results,
                  global_step, rng):
    logits, model_state = workload.model_fn(
        current_param_container, batch, model_state, None, rng, True)
    loss = workload.loss_fn(None, logits)
    carried = [*optimizer_state["carried"], model_state["carry"]["sum"].copy()]
    params = {"weight": current_param_container["weight"] + 0.01}
    if len(eval_results) > 90:
        raise ValueError
    return {"carried": carried}, params, model_state


def data_selection(workload, input_queue, optimizer_state, current_param_container,
                   model_state, hyperparameters, global_step, rng):
    return next(input_queue)
"""


@pytest.fixture
def family(monkeypatch):
    """Makes the family known, and nothing else."""
    folder = {"toy_family": toy_family}
    monkeypatch.setattr(registry, "folders", lambda wing: list(folder))
    monkeypatch.setattr(registry, "module", lambda wing, name, part: folder[name])
    monkeypatch.setattr(registry, "has_module", lambda wing, name, part: True)
    known = registry.base_definitions.__wrapped__()
    monkeypatch.setattr(registry, "definitions", lambda: known)
    toy = frameworks.Framework("toy_backend", "toy")
    monkeypatch.setitem(frameworks.FRAMEWORKS, "toy", toy)
    return known


@pytest.fixture
def workload():
    return Workload(
        DEFINITION,
        toy_backend.ToyBackend(),
        toy_family,
        toy_family,
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )


@pytest.fixture
def evaluator(workload, tmp_path):
    def make(seed=1):
        return Evaluator(
            workload,
            toy_backend.ToyBackend(),
            toy_family,
            toy_family,
            data_folder=tmp_path,
            seed=seed,
        )

    return make


def run(toy, tmp_path, **changes):
    submission = tmp_path / "submission.py"
    submission.write_text(SUBMISSION)
    settings = toy(
        submission_path=submission,
        workload="toy_walk",
        tuning="self",
        search_space=None,
        num_trials=1,
        **changes,
    )
    experiment.run(settings)
    return settings


def trial_of(settings):
    (trial,) = logs.read(settings.experiment_dir / settings.experiment_name)
    return trial


# A family in one folder.


def test_every_definition_of_a_family_is_found(family):
    assert list(family) == ["toy_walk", "toy_walk_long"]
    assert family["toy_walk_long"].epochs.number == 3


def test_a_family_says_which_folder_is_its_own(family, monkeypatch):
    stray = dataclasses.replace(DEFINITION, folder="elsewhere")
    monkeypatch.setattr(toy_family, "DEFINITIONS", (stray,))
    with pytest.raises(AlgoPerfError, match=r"'toy_walk' with folder='elsewhere'"):
        registry.base_definitions.__wrapped__()


def test_a_copy_that_kept_another_base_is_refused(family, monkeypatch):
    copy = dataclasses.replace(DEFINITION, name="toy_copy")
    monkeypatch.setattr(toy_family, "DEFINITIONS", (copy,))
    with pytest.raises(
        AlgoPerfError, match="base_name='toy_walk'; leave base_name out"
    ):
        registry.base_definitions.__wrapped__()


def test_two_definitions_of_one_name_are_refused(family, monkeypatch):
    monkeypatch.setattr(toy_family, "DEFINITIONS", (DEFINITION, DEFINITION))
    with pytest.raises(AlgoPerfError, match="both define 'toy_walk'"):
        registry.base_definitions.__wrapped__()


def test_files_of_a_family_are_checked_by_what_they_are():
    import types

    slip = types.ModuleType("algoperf.workloads.family.conv_jax")
    exec("def build(config): ...\ndef parameter_losses(p): ...", vars(slip))
    with pytest.raises(AlgoPerfError, match="did you mean 'parameter_loss'"):
        plugins.check(slip, "conv_jax")
    with pytest.raises(AlgoPerfError, match="must define open_batches"):
        plugins.check(types.ModuleType("m"), "data_images")


# A loss that the model defines, with a term of the parameters.


def test_the_loss_is_the_models_own_and_has_the_term_in_its_mean(workload):
    logits = WithParameterLoss(np.array([1.0, 3.0]), term=0.5)
    loss = workload.loss_fn(None, logits)
    np.testing.assert_allclose(loss["per_example"], [0.5, 4.5])
    assert loss["summed"] / loss["n_valid_examples"] == 2.5


def test_examples_that_do_not_count_have_no_term(workload):
    logits = WithParameterLoss(np.array([1.0, 3.0]), term=0.5)
    loss = workload.loss_fn(None, logits, np.array([1.0, 0.0]))
    np.testing.assert_allclose(loss["per_example"], [0.5, 0.0])
    assert (loss["summed"], loss["n_valid_examples"]) == (0.5, 1)


# A key in evaluation, and what is carried from batch to batch.


def test_evaluation_is_a_function_of_parameters_and_seed(evaluator):
    params = {"weight": np.ones(1)}
    state = {"carry": {"sum": np.full(4, 1e6)}}  # of training: evaluation starts anew
    first = evaluator().evaluate(params, state)
    assert evaluator().evaluate(params, {"carry": {"sum": np.zeros(0)}}) == first
    assert evaluator(seed=2).evaluate(params, state) != first


def test_evaluation_carries_from_batch_to_batch(evaluator):
    request = DataRequest(
        None, "validation", toy_family.SPLITS, 4, seed=1, drop_last=True
    )
    batches = toy_family.open_batches(request)
    total = batches.batch(0)["inputs"][-1] + batches.batch(1)["inputs"][-1]
    found = evaluator().evaluate(
        {"weight": np.ones(1)}, {"carry": {"sum": np.zeros(0)}}
    )
    assert abs(found["validation/last"] - total) < 0.1


def test_what_does_not_fill_a_batch_is_left_out(evaluator):
    found = evaluator().evaluate(
        {"weight": np.ones(1)}, {"carry": {"sum": np.zeros(0)}}
    )
    assert [found[f"{s}/num_examples"] for s in ("train", "validation", "test")] == [
        8,
        8,
        8,
    ]


def test_each_epoch_has_full_batches_of_its_own_order():
    request = DataRequest(None, "train", toy_family.SPLITS, 4, seed=1, drop_last=True)
    batches = toy_family.open_batches(request)
    epochs = [
        np.concatenate([batches.batch(5 * epoch + i)["inputs"] for i in range(5)])
        for epoch in range(2)
    ]
    assert all(len(np.unique(epoch)) == 20 for epoch in epochs)
    assert not np.array_equal(*epochs)


def test_a_batch_larger_than_an_epoch_is_refused():
    request = DataRequest(None, "train", toy_family.SPLITS, 23, seed=1, drop_last=True)
    with pytest.raises(BadSettings, match="larger than the 22 training examples"):
        toy_family.open_batches(request)


# Runs by epochs, without data files.


def test_a_run_by_epochs_is_evaluated_before_training_and_after_each(
    toy, family, tmp_path
):
    settings = run(toy, tmp_path)
    trial = trial_of(settings)
    assert [int(step) for step in trial.columns["global_step"]] == [0, 5, 10]
    assert trial.outcome is Outcome.NOT_REACHED


def test_no_data_folder_is_needed(toy, family, tmp_path, capsys):
    from algoperf import cli

    settings = run(toy, tmp_path, data_dir=tmp_path / "nowhere")
    assert trial_of(settings).outcome is Outcome.NOT_REACHED
    assert cli.main(["prepare", "toy_walk"]) == 2
    assert "its examples are computed" in capsys.readouterr().err


def test_a_resumed_run_carries_on_as_if_it_had_not_stopped(toy, family, tmp_path):
    whole = run(toy, tmp_path, experiment_name="whole")
    parts = run(toy, tmp_path, experiment_name="parts", max_global_steps=5)
    outcome = next(parts.experiment_dir.glob("parts/study_1/*/trial_1/outcome.json"))
    outcome.unlink()
    parts = run(toy, tmp_path, experiment_name="parts", on_existing="resume")
    rows = [trial_of(settings).columns for settings in (whole, parts)]
    for name in ("global_step", "validation/last", "test/loss"):
        np.testing.assert_array_equal(rows[0][name], rows[1][name])


def test_a_step_limit_beyond_the_last_epoch_does_not_lengthen_it(toy, family, tmp_path):
    settings = run(toy, tmp_path, max_global_steps=100)
    assert int(trial_of(settings).columns["global_step"][-1]) == 10
