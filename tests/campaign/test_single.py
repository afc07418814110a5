"""`algoperf run` is a campaign of one submission."""

import pytest

from algoperf import cli, logs
from algoperf.campaign import single
from algoperf.errors import BadLogs
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.launch import WrongInput
from algoperf.runner.outcomes import Ending
from algoperf.runner.supervision.preemption import Preempted


@pytest.fixture
def launched(monkeypatch):
    """Replaces the launch of trials: each ends as the script says, or reaches its targets."""
    found, script = [], {}

    def launch(plan, observers=()):
        end = script.get(len(found), Ending(Outcome.REACHED, "targets reached"))
        found.append((plan.settings.workload, plan.study, plan.trial))
        if isinstance(end, Exception):
            raise end
        logs.write_outcome(plan.folder, OutcomeRecord(end.outcome, end.reason))
        return end

    monkeypatch.setattr(single, "launch", launch)
    return found, script


def test_several_workloads_run_study_by_study(toy, launched):
    settings = [toy(workload=name, num_studies=2) for name in ("blobs_short", "blobs")]
    said = []
    assert single.run(settings, said.append)
    found, _ = launched
    assert found[:4] == [
        ("blobs", 1, 1),
        ("blobs", 1, 2),
        ("blobs_short", 1, 1),
        ("blobs_short", 1, 2),
    ]
    assert len(found) == len(said) == 8


def test_a_trial_that_failed_does_not_run_again_by_itself(toy, launched):
    found, script = launched
    script[0] = Ending(Outcome.INFRASTRUCTURE_CRASHED, "the process was killed")
    assert not single.run([toy()], lambda text: None)
    assert found == [("blobs", 1, 1), ("blobs", 1, 2)]


def test_a_preempted_trial_ends_the_run(toy, launched):
    found, script = launched
    script[0] = Ending(Outcome.PREEMPTED, "SIGTERM")
    with pytest.raises(Preempted):
        single.run([toy()], lambda text: None)
    assert len(found) == 1


def test_wrong_input_that_the_trial_found_is_handed_on(toy, launched):
    launched[1][0] = WrongInput("no")
    with pytest.raises(WrongInput):
        single.run([toy()], lambda text: None)


def test_folders_that_exist_are_refused_before_anything_runs(toy, launched):
    single.run([toy()], lambda text: None)
    with pytest.raises(BadLogs, match="--resume"):
        single.run([toy(), toy(workload="blobs_far")], lambda text: None)
    assert len(launched[0]) == 2


def test_the_command_infers_framework_space_and_tuning(
    toy, launched, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "mine"
    folder.mkdir()
    path = folder / "submission_toy.py"
    path.write_text(toy().submission_path.read_text())
    words = ["run", str(path), "--workload", "blobs", "blobs_far"]
    words += ["--data-dir", str(tmp_path / "data"), "--studies", "1"]
    words += ["--experiment-dir", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert "framework: toy; tuning: self (no search space)" in capsys.readouterr().err
    assert launched[0] == [("blobs", 1, 1), ("blobs_far", 1, 1)]
    space = folder / "tuning_search_space.json"
    space.write_text('[{"learning_rate": 0.1}]')
    assert cli.main([*words, "--overwrite"]) == 0
    assert f"tuning: external ({space})" in capsys.readouterr().err


def test_the_command_takes_tiers(toy, launched, tmp_path):
    words = ["run", str(toy().submission_path), "--workload", "tier:mini"]
    words += ["--framework", "toy", "--tuning-ruleset", "self", "--studies", "1"]
    words += ["--data-dir", str(tmp_path / "data"), "--experiment-dir", str(tmp_path)]
    assert cli.main(words) == 0
    assert launched[0] == [("blobs_mini", 1, 1)]
