"""`algoperf campaign`: what people type and read."""

import dataclasses
import json
import subprocess
import sys

import pytest
from fakes import FakeEngine

from algoperf import cli, logs
from algoperf.campaign import control, engines, stages
from algoperf.campaign.drive import Drive
from algoperf.campaign.ledger import MANIFEST, Campaign
from algoperf.campaign.verdict import State
from algoperf.errors import BadData, BadSettings
from algoperf.outcome import Outcome
from algoperf.runner import experiment
from algoperf.runner.outcomes import Ending

FIRST = "sgd/study_1/blobs_toy/trial_1"
CRASHED = Ending(Outcome.SUBMISSION_CRASHED, "it raised")


@pytest.fixture
def run(capsys):
    def call(*words):
        status = cli.main(["campaign", *map(str, words)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def campaign(make_plan, monkeypatch, toy_everywhere):
    """The folder of a toy campaign, which the fake engine will run."""

    def make(script=None):
        plan = make_plan()
        Campaign(plan).write_manifest()
        engine = FakeEngine(monkeypatch, script)
        monkeypatch.setattr(engines, "make", lambda *arguments: engine)
        return plan.folder

    return make


def test_a_run_prints_a_line_per_trial_the_state_and_the_ranking(campaign, run):
    status, out, _ = run("run", campaign())
    assert status == 0
    assert out.count("reached: targets reached") == 4
    assert "blobs      4/4" in out


def test_each_tuning_ruleset_is_ranked_apart(make_plan):
    plan = make_plan()
    entry = plan.submissions[0]
    tuned = dataclasses.replace(entry, name="own", tuning="self", search_space=None)
    plan = dataclasses.replace(plan, submissions=(entry, tuned))
    for settings in plan.all_settings():
        experiment.run(dataclasses.replace(settings, isolate=False), lambda text: None)
    boards = stages.leaderboards(plan)
    assert [(board.pool.tuning, list(board.pool.submissions)) for board in boards] == [
        ("external", ["sgd"]),
        ("self", ["own"]),
    ]


def test_a_failed_trial_is_named_with_the_way_to_run_it_again(campaign, run):
    folder = campaign({FIRST: [CRASHED]})
    status, out, _ = run("run", folder)
    assert status == 1
    assert "study 1, trial 1: crashed in the submission: it raised." in out
    assert f"algoperf campaign retry {folder} --cause submission" in out


def test_status_counts_and_exits_with_1_where_something_failed(campaign, run):
    folder = campaign({FIRST: [CRASHED]})
    assert run("status", folder)[0] == 0
    run("run", folder)
    status, out, _ = run("status", folder, "--json")
    found = json.loads(out)
    assert status == 1
    assert found["states"] == {"waiting": 0, "running": 0, "done": 3, "failed": 1}
    assert found["causes"] == {"submission": 1}
    assert found["workloads"]["blobs"]["done"] == 3


def test_retry_says_what_to_do_next(campaign, run):
    folder = campaign({FIRST: [CRASHED]})
    run("run", folder)
    assert "No trial has failed" in run("retry", folder, "--cause", "memory")[1]
    _, out, _ = run("retry", folder, "--cause", "submission")
    assert f"1 trials will run again. Go on with: algoperf campaign run {folder}" in out
    assert Campaign.open(folder).look(FIRST).verdict.state is State.WAITING


def test_retry_of_preempted_trials_is_refused_since_they_run_by_themselves(run):
    status, _, err = run("retry", "x", "--cause", "preempted")
    assert status == 2
    assert "invalid choice" in err


def test_cancel_without_a_driver_says_so(campaign, run):
    assert run("cancel", campaign())[1] == "Nothing is running.\n"


def test_a_campaign_that_is_stopped_exits_with_75(campaign, run, monkeypatch):
    folder = campaign()
    monkeypatch.setattr(control.Interruption, "should_stop", lambda self: True)
    status, out, _ = run("run", folder)
    assert status == 75
    assert f"Go on with: algoperf campaign run {folder}" in out


def test_a_plan_cannot_be_changed_through_its_folder(campaign, run):
    status, _, err = run("run", campaign(), "--data-dir", "x")
    assert status == 2
    assert "--data-dir cannot be given with the folder of a campaign" in err


def test_a_built_in_name_wins_over_a_folder_of_that_name(campaign, run, monkeypatch):
    folder = campaign()
    folder.rename(folder.with_name("mini"))
    monkeypatch.chdir(folder.parent)
    status, _, err = run("run", "mini")
    assert status == 2 and "submissions: there is none" in err
    assert run("run", "./mini")[0] == 0


def test_a_dry_run_is_short_and_kept_apart(campaign, run):
    folder = campaign()
    assert run("run", folder, "--dry-run-steps", 3)[0] == 0
    inner = Campaign.open(folder / ".campaign" / "dry_run")
    assert (inner.plan.max_steps, len(inner.trials)) == (3, 1)
    assert run("run", folder, "--dry-run-steps", 4)[0] == 0
    assert Campaign.open(inner.folder).plan.max_steps == 4
    assert {s.verdict.state for s in Campaign.open(folder).look_at_all()} == {
        State.WAITING
    }


def test_several_jobs_warn_that_times_are_not_comparable(campaign, run):
    out = run("run", campaign(), "--jobs", 2)[1]
    assert "2 trials share this machine" in out


def test_timed_trials_get_a_node_each(campaign, run):
    status, _, err = run("run", campaign(), "--engine", "ray", "--per-node", 2)
    assert status == 2
    assert "--per-node is 2, but timed trials need a node each" in err


def test_an_option_of_sbatch_is_a_pair(campaign, run):
    status, _, err = run("run", campaign(), "--engine", "slurm", "--sbatch", "gpu")
    assert status == 2
    assert "must be KEY=VALUE" in err


def test_the_schema_is_printed(run):
    assert json.loads(run("plan", "--schema")[1])["type"] == "object"


def test_planning_prints_costs_and_writes_the_manifest_alone(
    make_plan, run, monkeypatch, toy_everywhere
):
    plan = make_plan()
    monkeypatch.setattr("algoperf.campaign.plan_file.load", lambda *arguments: plan)
    status, out, _ = run("plan", "x.toml")
    assert status == 0
    assert "4 trials, at most 6.7 min of submission time" in out
    assert "at most 1.7 min, and evaluations" in out
    assert [path.name for path in plan.folder.rglob("*")] == [MANIFEST]


def test_measured_step_times_make_the_estimate_better(make_plan, tmp_path):
    speeds = tmp_path / "speeds.json"
    key = json.dumps({"workload": "blobs", "framework": "toy"})
    speeds.write_text(json.dumps({key: {"step_seconds": 0.1, "data_wait": 0.0}}))
    (cost,) = stages.costs(make_plan(), speeds)
    assert (cost.trials, cost.seconds, cost.longest) == (4, 400.0, 100.0)
    assert cost.expected_seconds == pytest.approx(4 * 0.1 * 100)


def test_a_file_that_is_no_calibration_is_refused(make_plan, tmp_path):
    path = tmp_path / "speeds.json"
    path.write_text("[1]")
    with pytest.raises(BadSettings, match="is not a calibration file"):
        stages.costs(make_plan(), path)


def test_every_problem_is_found_before_anything_starts(
    make_plan, tmp_path, toy_everywhere
):
    plan = make_plan(workloads=("blobs", "blobs_far"))
    assert isinstance(stages.check(plan), list)
    (tmp_path / "data" / "blobs" / "manifest.json").unlink()
    with pytest.raises(BadSettings, match="algoperf prepare"):
        stages.check(plan)
    assert not plan.folder.exists()


def test_a_submission_that_does_not_know_a_workload_is_found_at_the_door(
    make_plan, toy_everywhere, written
):
    plan = make_plan(workloads=("blobs",))
    path = written(end="BATCH_SIZES.clear()")
    entry = dataclasses.replace(plan.submissions[0], path=path)
    with pytest.raises(BadSettings, match=r"sgd: blobs: .*batch size"):
        stages.check(dataclasses.replace(plan, submissions=(entry,)))


def test_a_submission_that_ends_the_process_is_found_at_the_door(
    make_plan, toy_everywhere, written
):
    plan = make_plan(workloads=("blobs",))
    path = written(top="import os; os._exit(0)")
    entry = dataclasses.replace(plan.submissions[0], path=path)
    with pytest.raises(BadSettings, match="sgd ended the process that loads it"):
        stages.check(dataclasses.replace(plan, submissions=(entry,)))


def test_shipped_data_may_be_missing_when_planning_but_not_when_running(
    tmp_path, toy, make_plan, monkeypatch
):
    from algoperf.runner import door

    def no_data(settings):
        raise BadData("blobs is not prepared")

    monkeypatch.setattr(door, "check_before_start", no_data)
    monkeypatch.setattr(stages, "examine", lambda *arguments: [])
    plan = make_plan(workloads=("blobs_mini",), data_dir=tmp_path / "elsewhere")
    assert isinstance(stages.check(plan, is_data_coming=True), list)
    with pytest.raises(BadSettings, match="not prepared"):
        stages.check(plan)


def test_interrupting_asks_once_and_goes_on_unless_told_to_stop():
    answers = [False, True]
    asked = []

    def ask(question):
        asked.append(question)
        return answers[len(asked) - 1]

    interruption = control.Interruption(lambda: False, ask)
    assert not interruption.should_stop() and asked == []
    interruption._interrupt(2, None)
    assert not interruption.should_stop() and len(asked) == 1
    assert not interruption.should_stop() and len(asked) == 1
    interruption._interrupt(2, None)
    assert interruption.should_stop() and interruption.should_stop()
    assert len(asked) == 2 and "save a checkpoint" in asked[0]


def test_a_second_ctrl_c_is_an_answer():
    def ask(question):
        interruption._interrupt(2, None)

    interruption = control.Interruption(lambda: False, ask)
    interruption._interrupt(2, None)
    assert interruption.should_stop()


def test_without_a_person_ctrl_c_and_sigterm_stop():
    interruption = control.Interruption(lambda: False, None)
    interruption._interrupt(2, None)
    assert interruption.should_stop()
    interruption = control.Interruption(lambda: False, None)
    interruption._terminate(15, None)
    assert interruption.should_stop()
    assert control.Interruption(lambda: True, None).should_stop()


def test_a_screen_shows_workloads_and_the_last_endings(campaign, monkeypatch, capsys):
    from rich.console import Console

    from algoperf.campaign.progress import Screen

    ledger = Campaign.open(campaign({FIRST: [CRASHED]}))
    engine = engines.make("local", None, ledger.folder)
    with Screen(ledger, 1) as screen:
        Drive(ledger, engine, screen).run()
        console = Console(width=150)
        with console.capture() as captured:
            console.print(screen._draw())
    text = captured.get()
    assert "3/4" in text and "the submission: it raised" in text
    assert logs.read(ledger.folder)


@pytest.mark.parametrize(
    "words", [["list"], ["campaign", "--help"], ["score", "--help"]]
)
def test_engines_and_frameworks_are_imported_by_their_users_alone(words):
    code = (
        "import sys\nfrom algoperf import cli\ntry:\n    cli.main(sys.argv[1:])\n"
        "except SystemExit:\n    pass\n"
        "print([m for m in ('ray', 'submitit', 'jax', 'torch', 'rich') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, *words]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.endswith("[]\n")
