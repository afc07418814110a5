"""The manifest of a campaign: what may change between two runs, and what may not."""

import dataclasses
import json

import pytest

from algoperf import logs, registry
from algoperf.campaign.ledger import MANIFEST, Campaign
from algoperf.campaign.verdict import State
from algoperf.errors import BadLogs, BadSettings
from algoperf.outcome import Outcome, OutcomeRecord

FIRST = "sgd/study_1/blobs_toy/trial_1"


def test_a_folder_tells_its_plan_also_after_a_move(make_plan, tmp_path):
    plan = make_plan()
    Campaign(plan).write_manifest()
    assert Campaign.open(plan.folder).plan == plan
    moved = plan.folder.rename(tmp_path / "moved")
    assert Campaign.open(moved).plan == dataclasses.replace(plan, folder=moved)


def test_a_folder_without_a_manifest_is_no_campaign(tmp_path):
    with pytest.raises(BadLogs, match=r"is not the folder of a campaign.*campaign run"):
        Campaign.open(tmp_path)


def test_a_damaged_manifest_is_named(make_plan):
    plan = make_plan()
    Campaign(plan).write_manifest()
    (plan.folder / MANIFEST).write_text("{")
    with pytest.raises(BadLogs, match=r"campaign.json is damaged"):
        Campaign.open(plan.folder)


@pytest.mark.parametrize("content", ["{}", '{"plan": {}}', '{"plan": {"seed": []}}'])
def test_a_manifest_without_its_parts_is_damaged(make_plan, content):
    plan = make_plan()
    Campaign(plan).write_manifest()
    (plan.folder / MANIFEST).write_text(content)
    with pytest.raises(BadLogs, match=r"campaign.json is damaged"):
        Campaign.open(plan.folder)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"ruleset": "v0.6"}, {"max_steps": 3}, {"processes": 2}]
)
def test_trials_of_two_kinds_are_not_mixed_in_a_folder(make_plan, change):
    Campaign(make_plan()).write_manifest()
    with pytest.raises(BadSettings, match=f"{next(iter(change))} = .*another folder"):
        Campaign(make_plan(**change)).write_manifest()


@pytest.mark.parametrize(
    "change", [{"studies": 3}, {"workloads": ("blobs", "blobs_far")}]
)
def test_a_campaign_may_grow(make_plan, change):
    plan = make_plan()
    Campaign(plan).write_manifest()
    for trial in Campaign(plan).trials.values():
        logs.write_outcome(trial.folder, OutcomeRecord(Outcome.REACHED))
    larger = Campaign(make_plan(**change))
    larger.write_manifest()
    left = larger.left()
    assert len(left) == len(larger.trials) - 4 > 0
    kept = larger.trials[FIRST]
    assert (kept.seed, kept.point) == (
        Campaign(plan).trials[FIRST].seed,
        Campaign(plan).trials[FIRST].point,
    )


def test_code_that_changes_under_a_campaign_is_refused_once_it_has_run(
    make_plan, tmp_path
):
    plan = make_plan()
    path = tmp_path / "own" / "submission.py"
    path.parent.mkdir()
    path.write_text(plan.submissions[0].path.read_text())
    entry = dataclasses.replace(plan.submissions[0], path=path)
    plan = dataclasses.replace(plan, submissions=(entry,))
    Campaign(plan).write_manifest()
    path.write_text(path.read_text() + "# changed\n")
    Campaign(plan).write_manifest()  # nothing has run yet
    logs.write_outcome(
        Campaign(plan).trials[FIRST].folder, OutcomeRecord(Outcome.REACHED)
    )
    Campaign(plan).write_manifest()
    path.write_text(path.read_text() + "# again\n")
    with pytest.raises(BadSettings, match="code of submission 'sgd' has changed"):
        Campaign(plan).write_manifest()


def test_a_campaign_of_an_earlier_version_goes_on(make_plan):
    """Its manifest lacks a key that plans have had since."""
    campaign = Campaign(make_plan())
    path = campaign.write_manifest()
    content = json.loads(path.read_text())
    del content["plan"]["by_steps"]
    path.write_text(json.dumps(content))
    campaign.write_manifest()
    changed = dataclasses.replace(campaign.plan, by_steps=True)
    with pytest.raises(BadSettings, match="by_steps = False; this plan has True"):
        Campaign(changed).write_manifest()


def test_scoring_passes_over_what_a_campaign_keeps_without_a_word(make_plan):
    ledger = Campaign(make_plan())
    ledger.write_manifest()
    trial = ledger.trials[FIRST]
    logs.write_outcome(trial.folder, OutcomeRecord(Outcome.REACHED))
    ledger.records(trial).append("began")
    dry_run = ledger.folder / ".campaign" / "dry_run"
    logs.write_outcome(trial.id.folder(dry_run), OutcomeRecord(Outcome.REACHED))
    found = logs.scan(ledger.folder)
    assert [t.id for t in found.trials] == [trial.id]
    assert found.left_out == ()


def test_each_trial_of_a_workload_has_its_own_place(make_plan):
    plan = make_plan(workloads=tuple(registry.definitions())[:2])
    ledger = Campaign(plan)
    assert len(ledger.trials) == 8
    assert {s.verdict.state for s in ledger.look_at_all()} == {State.WAITING}


def test_the_manifest_names_the_code_that_it_was_made_for(make_plan):
    plan = make_plan()
    content = json.loads(Campaign(plan).write_manifest(costs=[]).read_text())
    assert set(content["code"]) == {"sgd"}
    assert content["costs"] == []
