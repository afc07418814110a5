"""`algoperf suite`: what people type and read, on the toy benchmark."""

import json

import pytest
from made_runs import even
from toy_fixtures import written

from algoperf import cli
from algoperf.errors import BadLogs
from algoperf.suite import baselines, rounds
from algoperf.suite.rounds import Order
from algoperf.suite.statistics import UNDECIDED

__all__ = ["written"]


@pytest.fixture
def suite(toy_suite, tmp_path, capsys):
    settings = toy_suite()

    def call(*words, framework="toy"):
        options = ["--folder", tmp_path / "suite", "--data-dir", settings.data_dir]
        options += ["--framework", framework] if framework else []
        status = cli.main(["suite", *map(str, [*words, *options])])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    class Suite:
        submission = settings.submission_path
        space = settings.search_space
        __call__ = staticmethod(call)

    return Suite()


def test_a_submission_runs_with_every_seed(suite, tmp_path):
    status, out, _ = suite(
        suite.submission, "--search-space", suite.space, "--trials", 1
    )
    assert status == 0
    assert out.count("reached: ") == 3
    assert "no baselines are shipped for toy: not run" in out


def test_it_goes_on_where_it_was_stopped(suite):
    words = (suite.submission, "--search-space", suite.space, "--trials", 1)
    suite(*words, "--seeds", 1)
    _, out, _ = suite(*words, "--seeds", 2)
    assert out.count("reached: ") == 1


def test_two_submissions_are_compared_with_the_same_seeds(suite, tmp_path):
    status, out, _ = suite("--compare", suite.submission, suite.submission, "--json")
    assert status == 2  # two of one name, and one file
    other = tmp_path / "other"
    other.mkdir()
    (other / "submission.py").write_text(suite.submission.read_text())
    status, out, _ = suite(
        "--compare", suite.submission, other / "submission.py", "--json"
    )
    assert status == 0
    (comparison,) = json.loads(out)["comparisons"]
    assert comparison["is_paired"]
    assert comparison["verdict"] == "tie"
    assert comparison["against"] == "other"


def test_a_report_is_written_in_the_format_of_its_name(suite, tmp_path):
    words = (
        suite.submission,
        "--search-space",
        suite.space,
        "--trials",
        1,
        "--seeds",
        1,
    )
    for name, start in (("r.html", "<!DOCTYPE html>"), ("r.json", "{"), ("r.md", "#")):
        assert suite(*words, "-o", tmp_path / name)[0] == 0
        assert (tmp_path / name).read_text().startswith(start)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "exactly one of both"),
        (["a.py", "--compare", "a.py", "b.py"], "exactly one of both"),
        (["a.py"], "a.py"),
        (["SUB", "--seeds", "0"], "--seeds"),
        (["SUB", "--workloads", "blob"], "blobs"),
        (["SUB", "--early-stop", "--seeds", "2"], "--early-stop"),
        (["SUB", "--early-stop"], "--rerun"),
        (["SUB", "--rerun", "nadmw"], "nadamw"),
        (["SUB", "-o", "report.xyz"], ".xyz"),
        (["--compare", "SUB", "SUB", "--name", "x"], "--name"),
        (["--compare", "SUB", "SUB", "--reference", "lion"], "--reference"),
        (["SUB", "--reference", "lionn"], "lion"),
        (["SUB", "--search-space", "a", "b"], "--search-space"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(suite, words, message, tmp_path):
    words = [suite.submission if word == "SUB" else word for word in words]
    status, out, err = suite(*words)
    assert status == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "suite").exists() or "reached" not in out


def test_a_submission_that_crashes_misses_every_target(suite, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    text = suite.submission.read_text().replace("rate =", "rate = 1 / 0  #", 1)
    (broken / "submission.py").write_text(text)
    status, out, _ = suite(broken / "submission.py", "--seeds", 2, "--json")
    assert status == 0
    runs = json.loads(out)["runs"]["blobs"]
    assert [run["missed"] for run in runs.values()] == [True, True]


def order(tmp_path, seeds=4):
    return Order((), ("blobs",), tmp_path, tmp_path, seeds)


def test_it_stops_as_soon_as_it_is_decided(monkeypatch, tmp_path):
    driven = []
    monkeypatch.setattr(
        rounds, "_drive", lambda plan, jobs, say: driven.append(plan.studies)
    )
    monkeypatch.setattr(rounds, "results_in", lambda order: [even("a")])
    answers = iter([UNDECIDED, "better"])
    lines = []
    rounds.run(order(tmp_path), lines.append, lambda found: next(answers))
    assert driven == [1, 2, 3]
    assert lines == ["decided after 3 of 4 seeds: better."]


def test_without_early_stop_all_seeds_are_one_campaign(monkeypatch, tmp_path):
    driven = []
    monkeypatch.setattr(
        rounds, "_drive", lambda plan, jobs, say: driven.append(plan.studies)
    )
    monkeypatch.setattr(rounds, "results_in", lambda order: [])
    rounds.run(order(tmp_path), lambda line: None)
    assert driven == [4]


def test_looks_share_the_probability_of_an_error():
    assert rounds.level_of(3, is_sequential=False) == pytest.approx(0.95)
    assert rounds.level_of(3, is_sequential=True) == pytest.approx(0.975)
    assert rounds.level_of(6, is_sequential=True) == pytest.approx(0.99)


def test_logs_of_other_runs_are_refused(toy, tmp_path):
    from algoperf import logs
    from algoperf.runner import experiment
    from algoperf.suite.runs import from_trials

    settings = toy(num_trials=1)
    experiment.run(settings, lambda line: None)
    with pytest.raises(BadLogs, match="not run by steps"):
        from_trials(logs.read(settings.experiment_dir), is_measured_here=True)


def test_baselines_that_ran_here_replace_the_shipped_ones():
    shipped = [even("a"), even("b")]
    assert [r.name for r in baselines.merged(shipped, [even("b")])] == ["a"]
