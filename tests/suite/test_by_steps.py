"""Runs by steps: they end at the validation target or the step hint, whatever the time."""

import pytest

from algoperf import logs, registry
from algoperf.definition import in_steps
from algoperf.outcome import Outcome
from algoperf.runner import experiment
from algoperf.runner.settings import Settings


def trial(settings: Settings) -> logs.Trial:
    experiment.run(settings, lambda line: None)
    return logs.read(settings.experiment_dir)[0]


def test_it_ends_at_the_step_hint_and_is_evaluated_on_a_grid_of_2_percent(toy):
    found = trial(toy(workload="blobs_never", num_trials=1, by_steps=True))
    assert found.outcome is Outcome.NOT_REACHED
    assert found.columns[logs.STEP].tolist() == [*range(1, 100, 2), 100]


def test_time_does_not_end_it(toy):
    settings = toy(workload="blobs_short", by_steps=True)
    plain = registry.definition("blobs_short").limits["v0.6"].budget_seconds
    assert settings.definition.limits["v0.6"].budget_seconds == 100 * plain


def test_nothing_but_the_validation_split_is_evaluated_or_needed(toy):
    found = trial(toy(num_trials=1, by_steps=True))
    assert found.outcome is Outcome.REACHED
    assert "validation/accuracy" in found.columns
    assert not [name for name in found.columns if name.startswith(("test/", "train/"))]
    assert found.meta.target.test is None


def test_fewer_steps_may_be_asked_for_but_not_more(toy):
    assert toy(by_steps=True, max_global_steps=10).max_global_steps == 10
    assert toy(by_steps=True, max_global_steps=1_000).max_global_steps == 100
    assert toy(by_steps=True, eval_period_steps=7).eval_period_steps == 7


def test_settings_survive_being_written_down(toy):
    settings = toy(by_steps=True)
    assert Settings.from_json(settings.as_json()) == settings


def test_other_runs_stay_as_they_were(toy):
    settings = toy()
    assert settings.definition == registry.definition("blobs")
    assert settings.eval_period_steps is None


@pytest.mark.parametrize("name", ["mnist_mini", "finewebedu_lm_mini"])
def test_the_definition_keeps_all_but_the_ends_of_a_run(name):
    definition = registry.definition(name)
    form = in_steps(definition)
    assert form.target.validation == definition.target.validation
    assert (form.model, form.data, form.splits) == (
        definition.model,
        definition.data,
        definition.splits,
    )
    assert {k: v.step_hint for k, v in form.limits.items()} == {
        k: v.step_hint for k, v in definition.limits.items()
    }
