import dataclasses

import pytest

from algoperf import cli, registry, rulesets
from algoperf.definition import Target
from algoperf.errors import BadSettings, UnknownName


@pytest.mark.parametrize(
    ("name", "external", "self_studies", "self_budget"),
    [
        ("paper", (20, 5), 5, 3.0),
        ("v0.5", (5, 5), 5, 3.0),
        ("v0.6", (5, 3), 3, 1.5),
        ("v1.0", (5, 3), 3, 1.5),
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
        ("v1.0", "validation", "none", "v1.0"),
    ],
)
def test_scoring_follows_the_published_rules(name, split, held_out, limits):
    rules = rulesets.ruleset(name)
    assert (rules.scored_split, rules.held_out, rules.limits) == (
        split,
        held_out,
        limits,
    )


V10_LIMITS = {  # budget and evaluation period in seconds, step hint
    "criteo1tb": (8_915, 356, 10_666),
    "fastmri": (2_745, 110, 18_094),
    "imagenet_resnet": (49_918, 1_996, 195_999),
    "imagenet_vit": (64_292, 2_571, 167_999),
    "librispeech_conformer": (43_680, 1_747, 76_000),
    "librispeech_deepspeech": (36_949, 1_447, 38_400),
    "ogbg": (11_303, 452, 52_000),
    "wmt": (16_114, 644, 120_000),
}


@pytest.mark.parametrize("base", V10_LIMITS)
def test_limits_of_version_1_hold_for_bases_and_variants(base):
    rules = rulesets.ruleset("v1.0")
    definition = registry.base_definitions()[base]
    for name in [base, *(f"{base}_{variant}" for variant in definition.variants)]:
        value = registry.definition(name)
        limits = value.limits_of(rules)
        found = (limits.budget_seconds, value.eval_period_for(rules), limits.step_hint)
        assert found == V10_LIMITS[base]
    mini = registry.definition(f"{base}_mini")
    assert mini.eval_period_for(rules) == mini.eval_period_seconds


def test_earlier_rulesets_keep_the_definitions_evaluation_period():
    value = registry.definition("wmt")
    for name in ("paper", "v0.5", "v0.6"):
        assert value.eval_period_for(rulesets.ruleset(name)) == 840


def test_a_workload_that_a_ruleset_lacks_is_refused():
    value = dataclasses.replace(registry.definition("wmt"), name="lm", limits={})
    with pytest.raises(BadSettings, match=r"lm is no workload of ruleset v0\.6"):
        value.limits_of(rulesets.ruleset("v0.6"))


def test_the_draw_of_2024_is_one_variant_of_each_of_six_bases():
    drawn = rulesets.ruleset("v0.5").drawn
    bases = [registry.definition(name).base_name for name in drawn]
    assert len(set(bases)) == len(drawn) == 6


def test_without_a_test_target_a_run_ends_at_its_validation_target():
    target = Target("ppl", validation=22.3, test=None, better="lower")
    metrics = {"validation/ppl": 30.0, "test/ppl": 1.0}
    assert target.reached(metrics, "test") and not target.reached(metrics, "validation")
    assert target.reached({"validation/ppl": 22.2}, "validation")


def test_list_shows_limits_and_evaluation_periods_of_version_1(capsys):
    assert cli.main(["list", "--ruleset", "v1.0", "--variants"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    for name in ("wmt", "wmt_glu_tanh"):
        assert "16,114    120,000    644" in lines[name]


def test_list_has_a_dash_for_what_a_ruleset_lacks(capsys):
    assert cli.main(["list", "--ruleset", "v0.5"]) == 0
    (line,) = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("finewebedu_lm ")
    ]
    assert line.split()[5:9] == ["-", "-", "-", "-"]


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
