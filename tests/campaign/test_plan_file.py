"""Plans as people write them, and the errors that they meet."""

import json
from pathlib import Path

import pytest

from algoperf import rulesets
from algoperf.campaign import plan_file
from algoperf.campaign.plan import Plan, make_entry, with_own_names, workloads_of
from algoperf.errors import AlgoPerfError, BadSettings, UnknownName

ROOT = Path(__file__).parents[2]
JAX = ROOT / "reference_algorithms" / "nadamw" / "submission_jax.py"
GOOD = f"""
workloads = ["mnist_mini"]
studies = 1

[[submissions]]
path = "{JAX}"
"""


def write(tmp_path, text):
    path = tmp_path / "one.toml"
    path.write_text(text)
    return path


def load(tmp_path, text, **options):
    return plan_file.load(str(write(tmp_path, text)), options)


def test_what_is_left_out_is_inferred_as_check_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = load(tmp_path, GOOD)
    (entry,) = plan.submissions
    assert (entry.name, entry.framework, entry.tuning) == ("nadamw", "jax", "external")
    assert entry.search_space == JAX.parent / "tuning_search_space.json"
    assert plan.name == "one"
    assert plan.folder == tmp_path / "experiments" / "one"


def test_paths_are_relative_to_the_file(tmp_path):
    plan = load(tmp_path, 'folder = "out"\ndata_dir = "data"\n' + GOOD)
    assert plan.folder == tmp_path / "out"
    assert plan.data_dir == tmp_path / "data"


def test_options_win_over_the_file(tmp_path):
    plan = load(tmp_path, GOOD, studies=3, trials=None, workloads=["ogbg_mini"])
    assert (plan.studies, plan.trials, plan.workloads) == (3, None, ("ogbg_mini",))


def test_loggers_reach_every_trial(tmp_path):
    plan = load(tmp_path, 'log_to = ["tensorboard", "wandb"]\n' + GOOD)
    assert {t.settings.log_to for t in plan.trial_plans()} == {("tensorboard", "wandb")}
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan


def test_a_manifest_of_version_0_1_has_no_loggers(tmp_path):
    plan = load(tmp_path, GOOD)
    content = plan.as_json()
    del content["log_to"]
    assert Plan.from_json(content) == plan


def test_a_plan_survives_its_way_into_a_manifest(tmp_path):
    plan = load(tmp_path, GOOD)
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("studeis = 2\n" + GOOD, 1, "studeis.*Did you mean 'studies'"),
        (GOOD.replace("studies = 1", 'studies = "one"'), 3, "studies.*whole number"),
        (GOOD.replace("studies = 1", "studies = true"), 3, "studies.*whole number"),
        (GOOD.replace("studies = 1", "studies = 0"), 3, "studies.*at least 1"),
        (GOOD.replace("studies = 1", "seed = -1"), 3, "seed.*from 0"),
        (GOOD.replace('"mnist_mini"', '"mnist_mimi"'), 2, "mnist_mimi.*Did you mean"),
        (GOOD.replace('"mnist_mini"', "3"), 2, "workloads.*list of texts"),
        (GOOD.replace('"mnist_mini"', '"tier:minni"'), 2, "minni.*Did you mean 'mini'"),
        (GOOD + 'framwork = "jax"\n', 7, "framwork.*Did you mean 'framework'"),
        (GOOD + 'framework = "jaxx"\n', 7, "jaxx.*Did you mean 'jax'"),
        (GOOD + 'tuning = "selv"\n', 7, "selv.*Did you mean 'self'"),
        (GOOD.replace("submission_jax", "submission_jx"), 6, "no submission file"),
        (GOOD.replace(f'path = "{JAX}"', 'name = "x"'), 5, "path.*missing"),
        (GOOD + 'name = "a/b"\n', 7, "name.*'/'"),
        ('ruleset = "v0.7"\n' + GOOD, 1, "v0.7.*Did you mean"),
        ('ruleset = "v0.6"\nheld_out_seed = "x"\n' + GOOD, 2, "no held-out workloads"),
    ],
)
def test_errors_name_file_line_key_and_the_near_name(tmp_path, text, line, words):
    with pytest.raises(AlgoPerfError, match=f"one.toml, line {line}: .*{words}"):
        load(tmp_path, text)


def test_a_file_that_is_no_toml_says_where(tmp_path):
    with pytest.raises(BadSettings, match=r"one.toml is not valid TOML.*line 2"):
        load(tmp_path, "\nstudies = = 3\n")


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(BadSettings, match="submissions: there is none"):
        load(tmp_path, 'workloads = ["mnist_mini"]')
    with pytest.raises(BadSettings, match="workloads: is missing"):
        load(tmp_path, f'[[submissions]]\npath = "{JAX}"')


def test_built_in_plans_take_submissions_from_the_command_line():
    plan = plan_file.load("mini", {}, [JAX])
    assert {"mnist_mini", "ogbg_mini", "wmt_mini"} <= set(plan.workloads)
    assert all(name.endswith("_mini") for name in plan.workloads)
    assert plan_file.load("qualification", {}, [JAX]).studies == 1


def test_an_unknown_plan_is_refused_with_the_near_name():
    with pytest.raises(UnknownName, match=r"'mimi'\. Did you mean 'mini'"):
        plan_file.load("mimi", {}, [JAX])


def test_a_tier_holds_the_rulesets_base_workloads():
    paper = workloads_of(["tier:full"], rulesets.ruleset("paper"))
    latest = workloads_of(["tier:full"], rulesets.ruleset("v1.0"))
    assert len(paper) == 8 and len(latest) == 9
    assert set(latest) - set(paper) == {"finewebedu_lm"}


def test_held_out_workloads_are_drawn_from_the_seed(tmp_path):
    text = 'held_out_seed = "public"\n' + GOOD
    plan = load(tmp_path, text)
    assert len(plan.held_out) >= 8 and set(plan.held_out) < set(plan.workloads)
    assert load(tmp_path, text).held_out == plan.held_out


def test_two_inferred_names_get_their_frameworks(tmp_path):
    other = JAX.with_name("submission_pytorch.py")
    plan = plan_file.load("mini", {}, [JAX, other])
    assert [e.name for e in plan.submissions] == ["nadamw_jax", "nadamw_pytorch"]


def test_two_given_names_must_differ(tmp_path):
    entries = [make_entry(JAX, name="a"), make_entry(JAX, name="a")]
    with pytest.raises(BadSettings, match="Two submissions are named 'a'"):
        with_own_names(entries, [True, True])


def test_self_tuning_takes_no_space_though_one_lies_beside():
    entry = make_entry(JAX, tuning="self")
    assert entry.search_space is None


def test_the_schema_has_every_key_and_its_choices():
    schema = plan_file.schema()
    assert set(schema["properties"]) == {key.name for key in plan_file.KEYS}
    inner = schema["properties"]["submissions"]["items"]
    assert inner["properties"]["tuning"]["enum"] == ["external", "self"]
    assert inner["required"] == ["path"]
    assert schema["additionalProperties"] is False


def test_every_key_of_a_plan_is_a_field_of_it():
    fields = set(Plan.__dataclass_fields__)
    assert {key.name for key in plan_file.KEYS} <= fields
