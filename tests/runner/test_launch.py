"""Whose fault it is when a trial's process ends as no trial should, in real processes."""

import json
import os
import signal
import tempfile

import pytest
from processes import start, wait_until

from algoperf import logs
from algoperf.logs import Outcome
from algoperf.runner import experiment
from algoperf.runner.launch import WrongInput
from algoperf.runner.plan import plan_trials


def run(settings):
    """What was said of the only trial, and how it is recorded."""
    said = []
    is_good = experiment.run(settings, said.append)
    (plan,) = plan_trials(settings)
    recorded = json.loads((plan.folder / logs.OUTCOME_FILE).read_text())
    return is_good, said[0], Outcome(recorded["outcome"]), recorded["reason"]


@pytest.mark.parametrize("status", [0, 1, 2, 75])
def test_a_submission_that_ends_the_process_has_crashed(
    toy_in_processes, written, status
):
    path = written(f"import os\nif global_step == 2: os._exit({status})")
    settings = toy_in_processes(submission_path=path, workload="blobs_never")
    is_good, said, outcome, reason = run(settings)
    assert not is_good and outcome is Outcome.SUBMISSION_CRASHED
    assert f"exited with status {status}" in reason and reason in said


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("top", "import os; os._exit(2)"),
        ("update", "import os; os.abort()"),
        ("update", "raise KeyboardInterrupt"),
        ("update", "raise BaseException('all')"),
        ("update", "import sys; sys.exit(2)"),
        ("update", "exec('raise MemoryError')"),
    ],
)
def test_whatever_a_submission_does_to_itself_is_its_crash(
    toy_in_processes, written, where, code
):
    settings = toy_in_processes(submission_path=written(**{where: code}))
    is_good, _, outcome, _ = run(settings)
    assert not is_good and outcome is Outcome.SUBMISSION_CRASHED


def test_an_error_names_the_submissions_line_and_the_whole_traceback(
    toy_in_processes, written
):
    settings = toy_in_processes(submission_path=written("raise ValueError('\\udc80')"))
    _, said, outcome, _ = run(settings)
    (plan,) = plan_trials(settings)
    assert outcome is Outcome.SUBMISSION_CRASHED
    assert r"ValueError: \udc80 (submission.py, line " in said
    assert f"The whole traceback is in {plan.folder / 'traceback.txt'}." in said
    assert "Traceback" in (plan.folder / "traceback.txt").read_text()


def test_the_budget_ends_a_first_step_that_sleeps(toy_in_processes, written):
    settings = toy_in_processes(
        submission_path=written("import time; time.sleep(600)"),
        workload="blobs_short",
        notice_seconds=1.0,
    )
    is_good, _, outcome, reason = run(settings)
    assert is_good and outcome is Outcome.NOT_REACHED
    assert "the budget of 0.5 s was spent" in reason and "did not return" in reason


def test_the_budget_ends_an_import_that_sleeps(toy_in_processes, written):
    settings = toy_in_processes(
        submission_path=written(top="import time; time.sleep(600)"),
        workload="blobs_short",
        notice_seconds=1.0,
    )
    _, _, outcome, reason = run(settings)
    assert outcome is Outcome.NOT_REACHED and "was spent" in reason


@pytest.mark.slow
def test_the_budget_ends_native_code_that_keeps_the_interpreter(
    toy_in_processes, written
):
    # Functions of a PyDLL are called without releasing the interpreter's lock.
    hang = "import ctypes\nif global_step == 3: ctypes.PyDLL(None).sleep(600)"
    settings = toy_in_processes(
        submission_path=written(f"import time; time.sleep(0.1)\n{hang}"),
        workload="blobs_short",
        notice_seconds=1.0,
    )
    _, _, outcome, reason = run(settings)
    assert outcome is Outcome.NOT_REACHED and "was spent" in reason


def test_sigterm_ends_a_step_that_does_not_end_by_itself(toy_in_processes, written):
    sleep = "import time\nif global_step == 3: time.sleep(600)"
    settings = toy_in_processes(
        submission_path=written(sleep),
        workload="blobs_never",
        eval_period_steps=1,
        notice_seconds=1.0,
        max_global_steps=9,
    )
    (plan,) = plan_trials(settings)
    process = start(settings)
    checkpoint = plan.folder / "checkpoints" / "ckpt-3"
    wait_until(checkpoint.is_dir, "the checkpoint before the step that sleeps")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 75, errors
    record = logs.read_outcome(plan.folder)
    outcome, reason = record.outcome, record.reason
    assert outcome is Outcome.PREEMPTED and "--resume" in reason
    assert checkpoint.is_dir()


def test_wrong_input_that_a_trial_finds_makes_no_folder(toy_in_processes, written):
    settings = toy_in_processes(submission_path=written(top="1 / 0"))
    with pytest.raises(WrongInput, match="ZeroDivisionError"):
        experiment.run(settings)
    assert not settings.experiment_dir.exists()


def test_a_folder_named_algoperf_in_the_current_one_is_not_ours(
    toy_in_processes, tmp_path, monkeypatch
):
    (tmp_path / "clone" / "algoperf").mkdir(parents=True)
    (tmp_path / "clone" / "algoperf" / "__init__.py").write_text("raise OSError")
    settings = toy_in_processes()
    monkeypatch.chdir(tmp_path / "clone")
    is_good, *_ = run(settings)
    assert is_good


def test_temporary_files_and_compiled_programs_go_with_their_trial(
    toy_in_processes, written, tmp_path
):
    where = tmp_path / "where.txt"
    settings = toy_in_processes(
        submission_path=written(
            top=f"""
import os, pathlib, tempfile
names = [tempfile.gettempdir(), os.environ["TORCHINDUCTOR_CACHE_DIR"]]
pathlib.Path(tempfile.gettempdir(), "for_the_next_trial").touch()
pathlib.Path({str(where)!r}).write_text("\\n".join(names))
"""
        )
    )
    assert run(settings)[0]
    folders = where.read_text().splitlines()
    assert len(set(folders)) == 2 and tempfile.gettempdir() not in folders
    assert not any(map(os.path.exists, folders))


def test_overwrite_leaves_a_trial_that_runs_untouched(
    toy_in_processes, written, monkeypatch
):
    from algoperf.errors import BadLogs
    from algoperf.runner.supervision import folder_lock

    settings = toy_in_processes(
        submission_path=written("import time; time.sleep(0.05)"),
        workload="blobs_never",
        eval_period_steps=1,
    )
    (plan,) = plan_trials(settings)
    rows = plan.folder / logs.EVALUATIONS_FILE
    again = toy_in_processes(workload="blobs_never", on_existing="overwrite")
    monkeypatch.setattr(folder_lock, "PATIENCE_SECONDS", 0.0)
    process = start(settings)
    try:
        wait_until(rows.is_file, "an evaluation")
        with pytest.raises(BadLogs, match="in use by another process"):
            experiment.run(again)
        assert rows.is_file()
    finally:
        process.kill()
        process.communicate()


def test_a_signal_without_a_name_is_told_by_its_number(toy_in_processes, written):
    path = written("import os; os.kill(os.getpid(), 40)")
    _, _, outcome, reason = run(toy_in_processes(submission_path=path))
    assert outcome is Outcome.INFRASTRUCTURE_CRASHED and "signal 40" in reason
