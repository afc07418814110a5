"""The runtime of optimizers relative to SGD: pairs of runs, kept and gone on with."""

import json

import pytest

from algoperf import cli, logs
from algoperf.campaign import deepobs, deepobs_runtime
from algoperf.campaign.deepobs import Optimizer, Protocol
from algoperf.campaign.plan import Entry
from algoperf.commands import protocol as protocol_command
from algoperf.errors import AlgoPerfError, BadLogs, BadSettings
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner import door, experiment
from algoperf.runner.supervision.preemption import Preempted
from algoperf.scoring.protocols.deepobs import runtime
from algoperf.trial_meta import TrialMeta

SECONDS = {"sgd": [10.0, 20.0], "adam": [12.0, 30.0], "slow": [30.0, 60.0]}


@pytest.fixture
def runs(monkeypatch):
    """Stands for the running: each optimizer takes the next of its SECONDS."""
    made = []

    def run(settings, say):
        made.append(settings)
        name = settings.experiment_name
        number = sum(s.experiment_name == name for s in made) - 1
        identity = logs.TrialId(name, 1, settings.workload, "pytorch", 1)
        folder = identity.folder(settings.experiment_dir)
        log = logs.TrialLog(folder)
        folder.mkdir(parents=True)
        log.start(TrialMeta(), {}, json.loads(settings.search_space.read_text())[0])
        for share in (0.5, 1.0):
            total = share * SECONDS[name][number % 2]
            metrics = {"train/loss": 1.0, "test/loss": 1.0}
            log.add_evaluation(logs.EvaluationRow(1, 1.0, 0, 0, 0, total, metrics))
        crashed = name == "crashing"
        outcome = Outcome.SUBMISSION_CRASHED if crashed else Outcome.NOT_REACHED
        log.finish(OutcomeRecord(outcome, "as the test says"))

    monkeypatch.setattr(experiment, "run", run)
    monkeypatch.setattr(door, "check_before_start", lambda settings: None)
    return made


def protocol(tmp_path, *names):
    points = [{"learning_rate": 10.0}, {"learning_rate": 0.1}]
    file = tmp_path / "submission.py"
    optimizers = [
        Optimizer(Entry(file, name, "pytorch", "external", file), points)
        for name in names
    ]
    return Protocol(optimizers, ["mnist_mlp_mini"], tmp_path, tmp_path)


def measured(tmp_path, *names, pairs=2):
    found = protocol(tmp_path, *names)
    said = []
    result = deepobs_runtime.measure(found, "mnist_mlp_mini", pairs, said.append)
    return result, said


def test_sgd_runs_before_each_run_of_the_others(runs, tmp_path):
    found, _ = measured(tmp_path, "sgd", "adam")
    assert [s.experiment_name for s in runs] == ["sgd", "adam", "sgd", "adam"]
    assert found == {"adam": [(10.0, 12.0), (20.0, 30.0)]}


def test_runs_last_three_epochs_with_the_rate_that_is_least_likely_to_diverge(
    runs, tmp_path, monkeypatch
):
    points = []
    inner = experiment.run
    monkeypatch.setattr(
        experiment,
        "run",
        lambda settings, say: (
            points.append(json.loads(settings.search_space.read_text())),
            inner(settings, say),
        ),
    )
    measured(tmp_path, "sgd", "adam", pairs=1)
    assert {s.max_global_steps for s in runs} == {3 * (4000 // 128)}
    assert points == [[{"learning_rate": 0.1}]] * 2
    assert not any(s.save_checkpoints for s in runs)


def test_only_missing_pairs_are_run(runs, tmp_path):
    first, _ = measured(tmp_path, "sgd", "adam", pairs=1)
    runs.clear()
    again, said = measured(tmp_path, "sgd", "adam", pairs=1)
    assert again == first
    assert runs == []
    assert said == []
    more, _ = measured(tmp_path, "sgd", "adam", pairs=2)
    assert len(more["adam"]) == 2
    assert len(runs) == 2


def test_a_run_that_fails_is_an_error_that_names_it(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(SECONDS, "crashing", [1.0, 1.0])
    with pytest.raises(AlgoPerfError, match="crashing on mnist_mlp_mini"):
        measured(tmp_path, "sgd", "crashing")


@pytest.mark.parametrize("text", ["{", "[]", '{"mnist_mlp_mini": {"adam": [[1, 0]]}}'])
def test_a_damaged_file_is_refused(runs, tmp_path, text):
    (tmp_path / "runtime.json").write_text(text)
    with pytest.raises(BadLogs, match=r"runtime\.json is damaged"):
        measured(tmp_path, "sgd", "adam")


@pytest.mark.parametrize("names", [("adam", "momentum"), ("sgd",)])
def test_without_sgd_and_another_there_is_nothing_to_compare(runs, tmp_path, names):
    with pytest.raises(BadSettings, match="sgd=FILE NAME=FILE"):
        found = protocol(tmp_path, *names)
        deepobs_runtime.check(found, "mnist_mlp_mini", print)


def test_the_ratio_is_the_mean_over_the_pairs():
    table = runtime.table({"adam": [(10.0, 12.0), (20.0, 30.0)], "one": [(1, 3)]})
    text = table.text()
    assert "1.35 ± 0.21" in text  # of 1.2 and 1.5
    assert "15.0" in text
    assert "3.00" in text


def test_a_stopped_measurement_says_how_to_go_on(runs, tmp_path, monkeypatch, capsys):
    def stop(settings, say):
        raise Preempted

    found = protocol(tmp_path, "sgd", "adam")
    monkeypatch.setattr(experiment, "run", stop)
    monkeypatch.setattr(protocol_command, "_protocol", lambda options: found)
    monkeypatch.setattr(deepobs, "check", lambda *given: None)
    monkeypatch.setattr(deepobs, "prepare", lambda *given: None)
    monkeypatch.setattr(deepobs, "run", lambda *given: deepobs.Progress())
    words = ["protocol", "deepobs", "--optimizers", "x.py", "--runtime", "2"]
    assert cli.main([*words, "--runtime-problem", "two_d_branin"]) == 75
    assert "Give the same command again" in capsys.readouterr().out
