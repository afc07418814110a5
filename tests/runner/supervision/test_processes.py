"""Real processes: notices, kills, hangs; whatever happens, nothing is left behind."""

import json
import os
import signal
import sys
import time

import psutil
import pytest
from processes import num_rows, start, wait_until

from algoperf import logs
from algoperf.logs import Outcome
from algoperf.runner import experiment, launch
from algoperf.runner.plan import plan_trials
from algoperf.runner.settings import Settings
from algoperf.runner.supervision import processes

SLOW_STEP = "import time; time.sleep(0.02)"
UNREACHABLE = {
    "workload": "blobs_never",
    "max_global_steps": 60,
    "eval_period_steps": 5,
}
FAR = "params['weight'] = params['weight'] * 0"  # never reaches a target


def folder_of(settings):
    return plan_trials(settings)[0].folder


def outcome_of(settings):
    return json.loads((folder_of(settings) / logs.OUTCOME_FILE).read_text())


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def stable(settings):
    (trial,) = logs.read(settings.experiment_dir / settings.experiment_name)
    columns = {
        k: v.tolist() for k, v in trial.columns.items() if "/" in k or k == logs.STEP
    }
    return trial, columns


def test_sigterm_leaves_a_checkpoint_and_says_resume_me(toy_in_processes, written):
    path = written(f"{SLOW_STEP}\n{FAR}")
    settings = toy_in_processes(submission_path=path, **UNREACHABLE)
    run = start(settings)
    wait_until(lambda: num_rows(folder_of(settings)) >= 2, "two evaluations")
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate()
    assert run.returncode == 75, err
    assert outcome_of(settings)["outcome"] == Outcome.PREEMPTED.value
    step = int(out.split("after step ")[1].split(";")[0])
    assert (folder_of(settings) / "checkpoints" / f"ckpt-{step}").is_dir()


def test_a_preempted_trial_resumes_to_the_same_numbers(toy_in_processes, written):
    path = written(f"{SLOW_STEP}\n{FAR}")
    whole = toy_in_processes(
        submission_path=path, **UNREACHABLE, experiment_name="whole"
    )
    assert start(whole).wait() == 0
    broken = toy_in_processes(
        submission_path=path, **UNREACHABLE, experiment_name="broken"
    )
    run = start(broken)
    wait_until(lambda: num_rows(folder_of(broken)) >= 3, "three evaluations")
    run.send_signal(signal.SIGTERM)
    assert run.wait() == 75
    assert start(broken, "--resume").wait() == 0
    (_, one), (trial, other) = stable(whole), stable(broken)
    assert one == other
    assert trial.columns["preemption_count"][-1] == 1


def test_sigterm_in_the_set_up_ends_the_trial_after_a_step(toy_in_processes, written):
    path = written(
        f"{SLOW_STEP}\n{FAR}",
        top="import os, signal; os.kill(os.getppid(), signal.SIGTERM)",
    )
    settings = toy_in_processes(submission_path=path, max_global_steps=1_000)
    assert start(settings).wait() == 75
    assert outcome_of(settings)["outcome"] == Outcome.PREEMPTED.value


def test_no_trial_follows_one_that_was_preempted(toy_in_processes, written):
    path = written(f"{SLOW_STEP}\n{FAR}")
    settings = toy_in_processes(
        submission_path=path, max_global_steps=1_000, num_trials=2
    )
    run = start(settings)
    wait_until(lambda: num_rows(folder_of(settings)) >= 1, "an evaluation")
    run.send_signal(signal.SIGTERM)
    assert run.wait() == 75
    assert not plan_trials(settings)[1].folder.exists()


def test_a_hang_is_ended_with_the_stacks_of_all_threads(toy_in_processes, written):
    hang = "import time\nif global_step == 3: time.sleep(600)"
    settings = toy_in_processes(
        submission_path=written(f"{FAR}\n{hang}"),
        hang_seconds=2.0,
        eval_period_steps=1,
        max_global_steps=9,
    )
    said = []
    assert not experiment.run(settings, said.append)
    assert outcome_of(settings)["outcome"] == Outcome.INFRASTRUCTURE_CRASHED.value
    assert "nothing moved for 2 s" in said[0]
    stacks = (folder_of(settings) / "stacks_0.txt").read_text()
    assert (
        "submission.py" in stacks and "algoperf-input" in stacks
    ) or "Thread" in stacks


def test_a_hang_in_an_evaluation_is_found_too(toy_in_processes, written):
    # An object whose array never comes.
    hang = """
import time
class Slow(dict):
    def __getitem__(self, name):
        time.sleep(600)
if global_step == 3: params = Slow(params)
"""
    settings = toy_in_processes(
        submission_path=written(f"{FAR}\n{hang}"),
        hang_seconds=2.0,
        eval_period_steps=1,
        max_global_steps=9,
    )
    experiment.run(settings, lambda text: None)
    assert "nothing moved" in outcome_of(settings)["reason"]


@pytest.mark.slow
def test_a_hang_in_native_code_that_keeps_the_interpreter_is_ended(
    toy_in_processes, written
):
    # Functions of a PyDLL are called without releasing the interpreter's lock.
    hang = "import ctypes\nif global_step == 3: ctypes.PyDLL(None).sleep(600)"
    settings = toy_in_processes(
        submission_path=written(f"{FAR}\nimport time; time.sleep(0.5)\n{hang}"),
        hang_seconds=2.0,
        eval_period_steps=1,
        max_global_steps=9,
    )
    assert not experiment.run(settings, lambda text: None)
    found = outcome_of(settings)
    assert found["outcome"] == Outcome.INFRASTRUCTURE_CRASHED.value
    assert "native code" in found["reason"]
    assert "submission.py" in (folder_of(settings) / "stacks_0.txt").read_text()


@pytest.mark.slow
def test_a_process_that_was_stopped_as_a_whole_is_ended(toy_in_processes, written):
    stop = (
        "import os, signal\nif global_step == 3: os.kill(os.getpid(), signal.SIGSTOP)"
    )
    settings = toy_in_processes(
        submission_path=written(f"{FAR}\nimport time; time.sleep(0.5)\n{stop}"),
        hang_seconds=2.0,
        eval_period_steps=1,
        max_global_steps=9,
    )
    assert not experiment.run(settings, lambda text: None)
    found = outcome_of(settings)
    assert found["outcome"] == Outcome.INFRASTRUCTURE_CRASHED.value
    assert "unresponsive and was killed" in found["reason"]


def test_a_killed_trial_leaves_no_process_behind(toy_in_processes, written, tmp_path):
    note = tmp_path / "pid"
    detach = f"""
import os, subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
)
open({str(note)!r}, "w").write(str(child.pid))
os.kill(os.getpid(), 9)
"""
    settings = toy_in_processes(submission_path=written(detach))
    assert not experiment.run(settings, lambda text: None)
    assert outcome_of(settings)["outcome"] == Outcome.INFRASTRUCTURE_CRASHED.value
    wait_until(lambda: gone(int(note.read_text())), "the end of the child")


def test_a_trial_does_not_outlive_the_command_that_started_it(
    toy_in_processes, written, tmp_path
):
    note = tmp_path / "pid"
    tell = (
        "import os\n"
        f"if global_step == 0: open({str(note)!r}, 'w').write(str(os.getpid()))\n"
        f"{SLOW_STEP}"
    )
    settings = toy_in_processes(
        submission_path=written(f"{tell}\n{FAR}"), max_global_steps=100_000
    )
    run = start(settings)
    wait_until(lambda: note.exists() and note.read_text() != "", "the first step")
    run.kill()
    run.wait()
    wait_until(lambda: gone(int(note.read_text())), "the end of the trial")


def test_a_second_run_of_a_trial_in_progress_is_refused(tmp_path):
    from algoperf.errors import BadLogs
    from algoperf.runner.supervision.folder_lock import locked

    with (
        locked(tmp_path),
        pytest.raises(BadLogs, match="in use by another process"),
        locked(tmp_path, patience=0.0),
    ):
        raise AssertionError("both have it")


def test_a_folder_is_free_again_afterwards(tmp_path):
    from algoperf.runner.supervision.folder_lock import locked

    for _ in range(2):
        with locked(tmp_path, patience=0.0):
            pass


def test_a_tree_ends_with_those_that_left_it(tmp_path):

    note = tmp_path / "pid"
    detach = (
        "import subprocess, sys; c = subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(600)'], start_new_session=True); "
        f"open({str(note)!r}, 'w').write(str(c.pid))"
    )
    tree = processes.ProcessTree([sys.executable, "-c", detach], os.environ)
    tree.process.wait()
    pid = int(note.read_text())
    assert not gone(pid)
    tree.end()
    deadline = time.monotonic() + 30
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert gone(pid)


def test_a_trial_starts_with_the_definitions_variables_unless_the_user_has_set_them(
    toy, monkeypatch, tmp_path
):
    monkeypatch.setenv("ALGOPERF_TEST_SET", "by the user")
    monkeypatch.delenv("ALGOPERF_TEST_UNSET", raising=False)
    wanted = dict.fromkeys(("ALGOPERF_TEST_SET", "ALGOPERF_TEST_UNSET"), "wanted")
    monkeypatch.setattr(Settings, "environment", wanted)
    (plan,) = plan_trials(toy(num_trials=1))
    found = launch.environment(plan, launch.Office(tmp_path))
    assert found["ALGOPERF_TEST_SET"] == "by the user"
    assert found["ALGOPERF_TEST_UNSET"] == "wanted"


def test_compilers_keep_what_they_make_in_a_folder_of_the_trial(
    toy, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "everybodys"))
    (plan,) = plan_trials(toy(num_trials=1))
    found = launch.environment(plan, launch.Office(tmp_path / "office"))
    assert found["TORCHINDUCTOR_CACHE_DIR"].startswith(str(tmp_path / "office"))


def test_orphans_are_adopted_where_the_system_can(tmp_path):
    import subprocess

    if sys.platform != "linux":
        pytest.skip("only Linux has subreapers")
    program = (
        "import os, subprocess, sys, psutil, time\n"
        "from algoperf.runner.supervision.processes import adopt_orphans, end_descendants\n"
        "adopt_orphans()\n"
        "if os.fork() == 0:\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "print(len(psutil.Process().children()))\n"
        "end_descendants()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["1"]
