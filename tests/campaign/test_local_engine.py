"""The engine of this machine, with real processes on the toy benchmark."""

import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from fakes import Notes
from processes import environment, wait_until

from algoperf import logs
from algoperf.campaign import engines
from algoperf.campaign.attempt import Job
from algoperf.campaign.drive import Drive
from algoperf.campaign.engines import EngineOptions, LocalEngine, Share, shares
from algoperf.campaign.ledger import Campaign
from algoperf.campaign.verdict import State
from algoperf.errors import BadSettings
from algoperf.outcome import Outcome

FIRST = "sgd/study_1/blobs_toy/trial_1"


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(engines, "_cores", lambda: list(range(8)))


def test_one_job_gets_the_whole_machine():
    assert shares(1) == [Share((), None)]


def test_jobs_get_disjoint_cores(eight_cores, monkeypatch):
    monkeypatch.setattr(engines, "_gpu_names", list)
    assert shares(3) == [Share((0, 1)), Share((2, 3)), Share((4, 5))]


def test_jobs_get_disjoint_gpus(eight_cores, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    found = shares(2)
    assert [share.gpus for share in found] == [("4", "5"), ("6", "7")]


def test_more_jobs_than_cores_or_gpus_are_refused(eight_cores, monkeypatch):
    monkeypatch.setattr(engines, "_gpu_names", list)
    with pytest.raises(BadSettings, match=r"--jobs is 9.*at most --jobs 8"):
        shares(9)
    monkeypatch.setattr(engines, "_gpu_names", lambda: ["0", "1"])
    with pytest.raises(BadSettings, match=r"there are 2 GPUs.*--jobs 2"):
        shares(3)


def test_a_share_reaches_the_attempt(make_plan):
    trial = next(iter(Campaign(make_plan()).trials.values()))
    job = Share((1,), ("3",)).given_to(Job(trial, Path("x"), environment={"A": "b"}))
    assert job.cores == (1,)
    assert job.environment == {"A": "b", "CUDA_VISIBLE_DEVICES": "3"}


def test_a_campaign_runs_in_processes_of_its_own(make_plan, toy_everywhere):
    ledger = Campaign(make_plan(studies=1))
    notes = Notes()
    engine = LocalEngine(EngineOptions(jobs=1))
    assert Drive(ledger, engine, notes).run()
    assert {t.outcome for t in logs.read(ledger.folder)} == {Outcome.REACHED}
    assert [line[1:] for line in notes.lines] == [("done", False)] * 2


def start_driver(plan, *options: str) -> subprocess.Popen:
    Campaign(plan).write_manifest()
    command = [sys.executable, "-m", "algoperf.cli", "campaign", "run", plan.folder]
    command += options
    return subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def endless(make_plan, tmp_path):
    """A plan of one trial whose steps take a while and never reach the target."""
    folder = tmp_path / "own"
    folder.mkdir()
    plan = make_plan(
        workloads=("blobs_never",), studies=1, trials=1, eval_every_steps=1
    )
    text = plan.submissions[0].path.read_text()
    text = "import time\n" + text.replace(
        "    return state,", "    time.sleep(0.05)\n    return state,"
    )
    text = text.replace('"blobs_far": 32', '"blobs_far": 32, "blobs_never": 16')
    (folder / "submission.py").write_text(text)
    entry = plan.submissions[0]
    return plan.__class__(
        **{
            **vars(plan),
            "submissions": (
                entry.__class__(**{**vars(entry), "path": folder / "submission.py"}),
            ),
        }
    )


NEVER = "sgd/study_1/blobs_never_toy/trial_1"


def has_evaluations(ledger, key):
    path = ledger.trials[key].folder / "eval_measurements.csv"
    return lambda: path.exists() and path.read_text().count("\n") > 3


@pytest.mark.slow
def test_sigterm_stops_with_a_checkpoint_and_the_next_run_goes_on(make_plan, tmp_path):
    plan = endless(make_plan, tmp_path)
    ledger = Campaign(plan)
    driver = start_driver(plan)
    wait_until(has_evaluations(ledger, NEVER), "evaluations")
    driver.send_signal(signal.SIGTERM)
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 75, out
    assert "Go on with: algoperf campaign run" in out
    state = ledger.look(NEVER)
    assert (state.verdict.state, state.outcome) == (State.WAITING, Outcome.PREEMPTED)
    steps = max(logs.read(plan.folder)[0].columns["global_step"])
    driver = start_driver(plan)
    wait_until(lambda: ledger.look(NEVER).verdict.attempts == 2, "second attempt")
    wait_until(
        lambda: max(logs.read(plan.folder)[0].columns["global_step"]) > steps, "steps"
    )
    driver.send_signal(signal.SIGTERM)
    driver.communicate(timeout=60)
    found = logs.read(plan.folder)[0].columns["global_step"].tolist()
    assert found == sorted(set(found)), "a step was logged twice"


@pytest.mark.slow
def test_when_the_driver_is_killed_its_trial_stops_with_a_checkpoint(
    make_plan, tmp_path
):
    plan = endless(make_plan, tmp_path)
    ledger = Campaign(plan)
    driver = start_driver(plan)
    wait_until(has_evaluations(ledger, NEVER), "evaluations")
    children = psutil.Process(driver.pid).children(recursive=True)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    wait_until(lambda: not any(child.is_running() for child in children), "children")
    assert ledger.look(NEVER).outcome is Outcome.PREEMPTED


@pytest.mark.slow
def test_an_attempt_that_is_killed_is_tried_again(make_plan, tmp_path):
    plan = endless(make_plan, tmp_path)
    ledger = Campaign(plan)
    driver = start_driver(plan)
    for attempts in (1, 2):
        wait_until(
            lambda n=attempts: ledger.look(NEVER).verdict.attempts == n, "attempt"
        )
        wait_until(has_evaluations(ledger, NEVER), "evaluations")
        line = [r for r in ledger.records(ledger.trials[NEVER]).read()][-1]
        os.kill(line["pid"], signal.SIGKILL)
    wait_until(lambda: ledger.look(NEVER).verdict.attempts == 3, "third attempt")
    subprocess.run(
        [sys.executable, "-m", "algoperf.cli", "campaign", "cancel", plan.folder],
        env=environment(),
        check=True,
    )
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 75, out
    assert "It will run again." in out


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_asks_once_and_then_stops(make_plan, tmp_path):
    plan = endless(make_plan, tmp_path)
    campaign = Campaign(plan)
    campaign.write_manifest()
    words = [sys.executable, "-m", "algoperf.cli", "campaign", "run", str(plan.folder)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, words, environment())
    shown = Shown(terminal)
    wait_until(has_evaluations(campaign, NEVER), "evaluations")
    os.write(terminal, b"\x03")
    wait_until(lambda: "Stop this campaign?" in shown.text, "the question")
    os.write(terminal, b"n\n")
    before = len(logs.read(plan.folder)[0].columns["global_step"])
    wait_until(
        lambda: len(logs.read(plan.folder)[0].columns["global_step"]) > before + 5,
        "that it goes on",
    )
    os.write(terminal, b"\x03")
    wait_until(lambda: shown.text.count("Stop this campaign?") == 2, "the question")
    os.write(terminal, b"y\n")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 75, shown.text
    assert "blobs_never" in shown.text and "Go on with" in shown.text
    assert campaign.look(NEVER).outcome is Outcome.PREEMPTED


class Shown:
    """What a terminal shows, read by a thread as it comes."""

    def __init__(self, terminal: int) -> None:
        self.text = ""
        self._terminal = terminal
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while data := os.read(self._terminal, 65_536):
                self.text += data.decode(errors="replace")
        except OSError:  # its other end is closed
            pass
