"""Whole runs of the toy benchmark: folders, resuming, outcomes, what people are told."""

import json
import shutil

import numpy as np
import pytest

from algoperf import logs
from algoperf.errors import BadCheckpoint, BadData, BadLogs, BadSettings, BadSubmission
from algoperf.logs import Outcome
from algoperf.runner import experiment
from algoperf.runner.checkpoints import files as checkpoint
from algoperf.runner.plan import plan_trials


def trials(settings):
    return logs.read(settings.experiment_dir)


def write_submission(tmp_path, toy_folder, old, new):
    folder = tmp_path / "own"
    folder.mkdir()
    text = (toy_folder / "sgd.py").read_text()
    assert old in text
    (folder / "submission.py").write_text(text.replace(old, new))
    return folder / "submission.py"


@pytest.fixture
def altered(toy, tmp_path):
    """Settings for the toy submission with one piece of its text replaced."""
    from toy_workload import FOLDER

    def make(old, new, **changes):
        path = write_submission(tmp_path, FOLDER, old, new)
        return toy(submission_path=path, num_trials=1, **changes)

    return make


def test_a_run_reaches_its_targets_and_logs_every_trial(toy):
    settings = toy(num_studies=2)
    said = []
    assert experiment.run(settings, said.append)
    results = trials(settings)
    assert [(t.id.study, t.id.trial) for t in results] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert {t.outcome for t in results} == {Outcome.REACHED}
    assert "targets reached" in said[0]


def test_the_logs_tell_rules_targets_hardware_and_versions(toy):
    settings = toy(num_trials=1)
    experiment.run(settings)
    (trial,) = trials(settings)
    assert trial.meta.ruleset == "paper"
    assert trial.meta.target.validation == 0.9
    assert trial.meta.host.cores >= 1
    assert {"algoperf", "python", "numpy"} <= set(trial.meta.versions)
    assert trial.hyperparameters == plan_trials(settings)[0].point
    assert trial.meta.began <= trial.ended.ended


def test_the_accounting_of_a_real_trial_closes(toy):
    settings = toy(num_trials=1)
    experiment.run(settings)
    (trial,) = trials(settings)
    seconds = json.loads((trial.folder / logs.OUTCOME_FILE).read_text())["seconds"]
    phases = sum(v for k, v in seconds.items() if k not in ("total", "unaccounted"))
    assert seconds["total"] == pytest.approx(phases + seconds["unaccounted"])
    assert seconds["unaccounted"] >= 0


def test_the_metrics_equal_a_direct_computation(toy):
    import toy_workload

    settings = toy(num_trials=1, max_global_steps=1)
    experiment.run(settings)
    (trial,) = trials(settings)
    (folder,) = (trial.folder / checkpoint.FOLDER).iterdir()
    params = checkpoint.load(folder).arrays
    inputs, labels = toy_workload.examples("validation")
    logits = inputs @ params["params/weight"] + params["params/bias"]
    assert trial.metric("validation/accuracy")[0] == np.mean(
        logits.argmax(-1) == labels
    )


def test_points_and_seeds_do_not_depend_on_which_trials_are_run(toy):
    everything = {
        (p.study, p.trial): p for p in plan_trials(toy(num_trials=5, num_studies=3))
    }
    some = plan_trials(
        toy(num_trials=5, num_studies=1, first_study=2, first_trial=3, last_trial=4)
    )
    assert [(p.study, p.trial) for p in some] == [(2, 3), (2, 4)]
    for plan in some:
        assert plan.point == everything[plan.study, plan.trial].point
        assert plan.seed == everything[plan.study, plan.trial].seed


def test_trials_and_studies_come_from_the_ruleset_by_default(toy):
    plans = plan_trials(toy(num_trials=None, num_studies=None))
    assert len(plans) == 20 * 5
    plans = plan_trials(toy(num_trials=None, num_studies=None, ruleset="v0.6"))
    assert len(plans) == 5 * 3
    self_tuning = toy(
        num_trials=None, num_studies=None, tuning="self", search_space=None
    )
    assert [(p.trial, p.point) for p in plan_trials(self_tuning)] == [(1, None)] * 5


def test_an_existing_folder_is_refused_unless_told_otherwise(toy):
    experiment.run(toy())
    with pytest.raises(BadLogs, match=r"--resume.*--overwrite.*--experiment-name"):
        experiment.run(toy())
    said = []
    assert experiment.run(toy(on_existing="resume"), said.append)
    assert said == ["2 of 2 trials are finished already."]
    assert experiment.run(toy(on_existing="overwrite"))


def run_and_crash(settings, monkeypatch, at_evaluation):
    """Runs until an evaluation, then dies as if killed."""
    from algoperf.runner.trial import Trial

    record = Trial._decide
    count = 0

    def die(self, is_finite):
        nonlocal count
        count += 1
        if count == at_evaluation:
            raise KeyboardInterrupt
        return record(self, is_finite)

    monkeypatch.setattr(Trial, "_decide", die)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(settings)
    monkeypatch.setattr(Trial, "_decide", record)


SLOW = {"num_trials": 1, "workload": "blobs_far", "max_global_steps": 16}


@pytest.fixture
def often_evaluated(toy, monkeypatch):
    """The toy workload, evaluated after every step and with a target out of reach."""
    import dataclasses

    from algoperf import registry

    known = {
        name: dataclasses.replace(
            definition,
            eval_period_seconds=0.0,
            target=dataclasses.replace(definition.target, validation=2.0),
        )
        for name, definition in registry.definitions().items()
    }
    monkeypatch.setattr(registry, "definitions", lambda: known)
    return toy


def stable_columns(trial):
    return {
        k: v.tolist()
        for k, v in trial.columns.items()
        if "/" in k or k == "global_step"
    }


def test_a_resumed_trial_equals_one_that_was_never_interrupted(
    often_evaluated, monkeypatch
):
    whole = often_evaluated(**SLOW, experiment_name="whole")
    experiment.run(whole)
    broken = often_evaluated(**SLOW, experiment_name="broken")
    run_and_crash(broken, monkeypatch, at_evaluation=7)
    experiment.run(
        often_evaluated(**SLOW, experiment_name="broken", on_existing="resume")
    )
    by_name = {t.id.submission: t for t in trials(whole)}
    assert stable_columns(by_name["broken"]) == stable_columns(by_name["whole"])
    assert by_name["broken"].columns["global_step"].tolist() == list(range(1, 17))
    seconds = by_name["broken"].columns["accumulated_submission_time"]
    assert (np.diff(seconds) > 0).all()


def test_a_trial_killed_after_its_last_evaluation_ends_the_same(toy, monkeypatch):
    """Its targets are reached: training on from the checkpoint would be another trial."""
    settings = toy(num_trials=1)
    run_and_crash(settings, monkeypatch, at_evaluation=1)
    experiment.run(toy(num_trials=1, on_existing="resume"))
    (trial,) = trials(settings)
    assert trial.outcome is Outcome.REACHED
    assert trial.columns["global_step"].tolist() == [1]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    often_evaluated, monkeypatch, capsys
):
    settings = often_evaluated(**SLOW)
    run_and_crash(settings, monkeypatch, at_evaluation=5)
    (trial,) = trials(settings)
    newest = trial.folder / checkpoint.FOLDER / "ckpt-5" / "arrays.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    experiment.run(often_evaluated(**SLOW, on_existing="resume"))
    assert "damaged" in capsys.readouterr().err
    assert trials(settings)[0].columns["global_step"].tolist() == list(range(1, 17))


def test_a_checkpoint_of_another_submission_is_refused(
    often_evaluated, monkeypatch, tmp_path
):
    from toy_workload import FOLDER

    settings = often_evaluated(**SLOW)
    run_and_crash(settings, monkeypatch, at_evaluation=3)
    other = tmp_path / "other"
    shutil.copytree(FOLDER, other)
    (other / "sgd.py").write_text((other / "sgd.py").read_text() + "\n# changed\n")
    resumed = often_evaluated(
        **SLOW, submission_path=other / "sgd.py", on_existing="resume"
    )
    with pytest.raises(BadCheckpoint, match="submission code"):
        experiment.run(resumed)


def test_a_submission_that_raises_ends_as_crashed_with_its_line(altered):
    settings = altered("return next(input_queue)", "raise RuntimeError('no more')")
    said = []
    assert not experiment.run(settings, said.append)
    (trial,) = trials(settings)
    assert trial.outcome is Outcome.SUBMISSION_CRASHED
    assert (
        "data_selection failed at step 0: RuntimeError: no more (submission.py, line"
        in said[0]
    )
    assert "no more" in (trial.folder / "traceback.txt").read_text()


def test_a_submission_that_returns_nan_ends_as_diverged(altered):
    settings = altered(
        "return state, params", "params['bias'] *= np.nan; return state, params"
    )
    assert not experiment.run(settings)
    assert trials(settings)[0].outcome is Outcome.DIVERGED


def test_a_submission_that_never_reaches_the_target_is_not_an_error(altered):
    settings = altered("rate * grads[k]", "0 * grads[k]", max_global_steps=5)
    assert experiment.run(settings)
    assert trials(settings)[0].outcome is Outcome.NOT_REACHED


def test_a_bad_batch_size_is_refused_before_anything_is_timed(altered):
    settings = altered('"blobs": 16', '"blobs": 0')
    with pytest.raises(BadSubmission, match="positive int"):
        experiment.run(settings)


def test_a_variant_falls_back_to_the_batch_size_of_its_base(altered):
    settings = altered(', "blobs_far": 32', "", workload="blobs_far")
    experiment.run(settings)
    (trial,) = trials(settings)
    assert trial.meta.batch_size == 16
    assert trial.meta.batch_size_source == "submission, for blobs"


def test_an_unknown_mini_workload_gets_its_own_default_batch_size(altered):
    settings = altered('"blobs_mini": 8, ', "", workload="blobs_mini")
    experiment.run(settings)
    (trial,) = trials(settings)
    assert trial.meta.batch_size == 16
    assert trial.meta.batch_size_source == "default of blobs_mini"


def test_data_that_is_not_prepared_is_said_before_anything_starts(toy, tmp_path):
    with pytest.raises(BadData, match="algoperf prepare"):
        experiment.run(toy(data_dir=tmp_path / "nothing"))


def test_a_full_disk_ends_the_trial_and_leaves_logs_intact(toy, monkeypatch):
    settings = toy(num_trials=1, max_global_steps=3)
    written = logs.TrialLog.add_evaluation

    def full(self, row):
        raise BadLogs("Could not write: No space left on device.")

    monkeypatch.setattr(logs.TrialLog, "add_evaluation", full)
    said = []
    assert not experiment.run(settings, said.append)
    monkeypatch.setattr(logs.TrialLog, "add_evaluation", written)
    (trial,) = trials(settings)
    assert trial.outcome is Outcome.INFRASTRUCTURE_CRASHED
    assert "No space left" in said[0]


def test_no_trial_to_run_is_an_error(toy):
    with pytest.raises(BadSettings, match="no trial"):
        plan_trials(toy(first_trial=3))


def test_self_tuning_multiplies_the_budget_and_passes_no_hyperparameters(toy):
    settings = toy(tuning="self", search_space=None, num_trials=None, num_studies=1)
    experiment.run(settings)
    (trial,) = trials(settings)
    assert trial.meta.budget_seconds == 300
    assert trial.hyperparameters == {}
