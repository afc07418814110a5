"""What people see of a run: phases, budget, distance to the target, time left, next command."""

import io
import json
import re

import pytest
from toy_fixtures import written

from algoperf import cli
from algoperf.campaign.run_progress import RunLines, RunProgress, RunScreen
from algoperf.evaluations import EvaluationRow
from algoperf.outcome import Outcome, OutcomeRecord
from algoperf.runner.clock import Phase
from algoperf.runner.plan import plan_trials
from algoperf.runner.supervision.heartbeat import Sign
from algoperf.runner.trial_observers import TrialInfo

__all__ = ["written"]  # a fixture
MODULE = "algoperf.campaign.run_progress"


def sign(phase=Phase.SUBMISSION, seconds=0.0, step=0) -> Sign:
    return Sign(phase, seconds, step, 100.0, 0.0, 60.0)


def row(step, accuracy, loss=0.5, seconds=1.0) -> EvaluationRow:
    metrics = {"validation/accuracy": accuracy, "train/loss": loss}
    return EvaluationRow(step, seconds, 0.0, 0.0, 0.0, 0.0, metrics)


@pytest.fixture
def plans(toy):
    return plan_trials(toy(workload="blobs", num_studies=2, num_trials=3))


@pytest.fixture
def progress(plans):
    found = RunProgress(plans)
    found.on_start(TrialInfo.of(plans[1]))
    return found


def test_the_study_and_the_trial_are_counted(progress):
    assert progress.label == "blobs (toy), study 1 of 2, trial 2 of 3"


@pytest.mark.parametrize(
    ("now", "activity"),
    [
        (None, "starting"),
        (sign(Phase.SETUP), "setting up"),
        (sign(step=0), "compiling, first step"),
        (sign(step=1), "training"),
        (sign(None, step=5), "training"),
        (sign(Phase.EVALUATION, step=1), "evaluating"),
        (sign(Phase.CHECKPOINT, step=1), "saving a checkpoint"),
    ],
)
def test_it_says_what_the_trial_is_doing(progress, now, activity):
    if now is not None:
        progress.on_heartbeat(now)
    assert progress.activity == activity
    assert progress.lines()[0] == f"{progress.label}: {activity}"


def test_step_loss_best_and_distance_to_the_target_are_shown(progress):
    progress.on_heartbeat(sign(step=10))
    progress.on_evaluation(row(10, 0.5, loss=0.25))
    progress.on_evaluation(row(11, 0.4, loss=0.125))
    progress.on_heartbeat(sign(step=15))
    target = progress._trial.target.validation
    assert progress.lines()[1] == (
        f"step 16, train loss 0.125, best accuracy 0.5, {target - 0.5:.4g} to target"
    )
    progress.on_evaluation(row(20, 1.0))
    assert progress.lines()[1].endswith("target reached")


def test_a_resumed_trial_counts_on_from_its_last_row(progress):
    progress.on_heartbeat(sign(Phase.SETUP))
    progress.on_evaluation(row(500, 0.5))  # told once more
    progress.on_heartbeat(sign(step=7))
    assert progress.step == 507


def test_the_time_left_is_the_budget_or_the_step_limit(toy):
    (plan,) = plan_trials(toy(num_studies=1, num_trials=1, max_global_steps=100))
    progress = RunProgress([plan])
    progress.on_start(TrialInfo.of(plan))
    assert progress.trial_seconds_left() == progress.budget
    progress.on_heartbeat(sign(seconds=2.0, step=50))
    assert progress.trial_seconds_left() == pytest.approx(2.0)
    assert "all trials" not in progress.lines()[2]


def test_the_time_of_all_trials_follows_those_that_have_ended(plans, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(f"{MODULE}.time.monotonic", lambda: now[0])
    progress = RunProgress(plans)
    progress.on_start(TrialInfo.of(plans[0]))
    assert progress.run_seconds_left() == 6 * progress.budget
    now[0] = 4.0
    progress.on_end(OutcomeRecord(Outcome.REACHED))
    progress.on_start(TrialInfo.of(plans[1]))
    now[0] = 5.0
    assert progress.run_seconds_left() == pytest.approx(3.0 + 4 * 4.0)


def test_a_terminal_gets_lines_of_its_width_and_its_cursor_back(plans, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out = io.StringIO()
    screen = RunScreen(plans, out)
    screen.on_start(TrialInfo.of(plans[0]))
    screen.on_heartbeat(sign(seconds=2.0, step=50))
    screen.on_evaluation(row(50, 0.5))
    screen.on_heartbeat(sign(seconds=3.0, step=60))
    screen.on_end(None)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    lines = [part for line in text.splitlines() for part in line.split("\r")]
    assert max(map(len, lines)) <= 40
    assert any(line.startswith("step 60") for line in lines)
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


def test_elsewhere_every_evaluation_is_a_line(plans, capsys):
    lines = RunLines(plans)
    lines.on_start(TrialInfo.of(plans[0]))
    for step in (1, 2, 3):
        lines.on_evaluation(row(step, 0.1 * step))
        lines.on_heartbeat(sign(step=step))
    lines.on_end(OutcomeRecord(Outcome.REACHED))
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 3
    assert err.startswith(
        "blobs (toy), study 1 of 2, trial 1 of 3: step 1, 1.0 s of 100 s, train loss 0.5, "
        "best accuracy 0.1, "
    )


# The end of a run


@pytest.fixture
def run(toy, written, tmp_path, capfd, monkeypatch):
    """Runs the toy submission in processes: status, stdout, stderr."""
    from processes import environment

    settings = toy()
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])

    def run(update="pass", *more):
        path = written(update)
        words = ["run", path, "--framework", "toy", "--tuning-ruleset", "self"]
        words += ["--workload", "blobs_never", "--data-dir", settings.data_dir]
        words += ["--studies", 1, "--max-steps", 5, "--eval-every-steps", 2]
        words += ["--experiment-dir", tmp_path / "out", "--experiment-name", "mine"]
        status = cli.main([*map(str, words), *map(str, more)])
        return status, *capfd.readouterr()

    return run


def test_the_end_names_the_folder_and_the_next_command(run, tmp_path):
    status, out, err = run()
    assert status == 0 and out.count("\n") == 1
    assert err.splitlines()[-2:] == [
        f"Logs: {tmp_path / 'out' / 'mine'}",
        f"Next: algoperf score {tmp_path / 'out'} --studies 1",
    ]


def test_a_crash_names_the_traceback_and_what_to_do(run):
    status, out, err = run("1 / 0")
    assert status == 1 and "traceback.txt" in out
    assert "correct the submission and run again with --overwrite" in err


def test_the_outcomes_are_json_for_programs(run):
    status, out, err = run("pass", "--json", "-")
    (trial,) = json.loads(out)["trials"]
    assert status == 0 and "mine, blobs_never" in err
    assert (trial["outcome"], trial["step"]) == ("not reached", 5)


def test_the_debugger_opens_where_the_submission_failed(run, tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(sys, "__stdin__", io.StringIO("p 6 * 7\nq\n"))
    status, _, err = run("1 / 0", "--pdb")
    assert status == 1
    assert "The debugger stands where it was raised" in err and "42" in err
    assert (tmp_path / "out" / ".unscored" / "mine").is_dir()
    assert not (tmp_path / "out" / "mine").exists()
