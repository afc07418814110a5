import dataclasses

import pytest

from algoperf import rulesets
from algoperf.errors import UnknownName


@pytest.mark.parametrize(
    ("name", "external", "self_studies", "self_budget"),
    [
        ("paper", (20, 5), 5, 3.0),
        ("v0.5", (5, 5), 5, 3.0),
        ("v0.6", (5, 3), 3, 1.5),
    ],
)
def test_constants_are_the_published_ones(name, external, self_studies, self_budget):
    rules = rulesets.ruleset(name)
    assert (rules.trials("external"), rules.studies("external")) == external
    assert (rules.trials("self"), rules.studies("self")) == (1, self_studies)
    assert rules.budget_factor("external") == 1.0
    assert rules.budget_factor("self") == self_budget
    assert rules.max_performance_ratio == 4.0
    assert rules.prepare_for_eval and rules.time_optimizer_init


@pytest.mark.parametrize(
    ("name", "split", "held_out", "limits"),
    [
        ("paper", "test", "all_bases", "v0.5"),
        ("v0.5", "validation", "sampled_6", "v0.5"),
        ("v0.6", "validation", "none", "v0.6"),
    ],
)
def test_scoring_follows_the_published_rules(name, split, held_out, limits):
    rules = rulesets.ruleset(name)
    assert (rules.scored_split, rules.held_out, rules.limits) == (
        split,
        held_out,
        limits,
    )


def test_the_default_is_the_papers():
    assert rulesets.DEFAULT_RULESET == "paper"


def test_an_unknown_ruleset_lists_all_and_suggests_one():
    with pytest.raises(UnknownName) as caught:
        rulesets.ruleset("v0.7")
    text = str(caught.value)
    assert "'v0.7'" in text and "Did you mean" in text
    assert all(name in text for name in rulesets.RULESETS)


def test_rulesets_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        rulesets.ruleset("paper").external_trials = 1
