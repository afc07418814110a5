"""The Slurm engine on a real Slurm of two nodes on this host."""

import subprocess
import sys

import pytest
import slurm_cluster
from fakes import Notes
from processes import environment, wait_until
from test_local_engine import NEVER, endless, has_evaluations, start_driver

from algoperf import logs
from algoperf.campaign import slurm_engine, slurm_jobs
from algoperf.campaign.drive import Drive
from algoperf.campaign.engines import EngineOptions
from algoperf.campaign.ledger import Campaign
from algoperf.campaign.slurm_engine import SlurmEngine
from algoperf.campaign.verdict import State
from algoperf.errors import MissingDependency
from algoperf.outcome import Outcome


def test_jobs_and_their_trials_are_kept_in_the_folder(tmp_path):
    slurm_jobs.note(tmp_path, {"7_0": "a/b c", "7_1": "d"})
    slurm_jobs.note(tmp_path, {"8": "e"})
    assert slurm_jobs.keys(tmp_path) == {"7_0": "a/b c", "7_1": "d", "8": "e"}


def test_a_campaign_without_jobs_has_none_to_cancel(tmp_path):
    assert slurm_jobs.keys(tmp_path) == {}
    assert slurm_jobs.cancel(tmp_path) == []


def test_a_machine_without_slurm_is_told_so(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="no command sbatch"):
        SlurmEngine(EngineOptions(), tmp_path)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The variables of a running cluster, set for this process too."""
    pytest.importorskip("submitit")
    if why := slurm_cluster.missing():
        pytest.skip(why)
    with (
        pytest.MonkeyPatch.context() as patch,
        slurm_cluster.running(tmp_path_factory.mktemp("slurm")) as variables,
    ):
        for name, value in {**environment(), **variables}.items():
            patch.setenv(name, value)
        patch.setattr(slurm_engine, "_LOOK_SECONDS", 0.5)
        yield variables


@pytest.mark.slow
def test_an_array_runs_the_trials_on_both_nodes(slurm, make_plan):
    campaign = Campaign(make_plan())
    engine = SlurmEngine(EngineOptions(is_scored=False), campaign.folder)
    notes = Notes()
    assert Drive(campaign, engine, notes, is_scored=False).run()
    assert {t.outcome for t in logs.read(campaign.folder)} == {Outcome.REACHED}
    assert [line[1:] for line in notes.lines] == [("done", False)] * 4
    jobs = slurm_jobs.keys(campaign.folder)
    assert sorted(jobs.values()) == sorted(campaign.trials)
    assert len({job_id.partition("_")[0] for job_id in jobs}) == 1
    (script,) = slurm_jobs.folder_of(campaign.folder).glob("*_submission.sh")
    assert "--array=0-3" in script.read_text()
    assert "--requeue" in script.read_text()


def queue(job_id: str) -> str:
    result = subprocess.run(
        ["squeue", "--noheader", "--array", f"--jobs={job_id}", "--format=%T"],
        capture_output=True,
        text=True,
    )
    return result.stdout.strip()


@pytest.mark.slow
def test_a_job_is_stopped_requeued_and_goes_on_from_its_checkpoint(
    slurm, make_plan, tmp_path
):
    plan = endless(make_plan, tmp_path)
    campaign = Campaign(plan)
    driver = start_driver(plan, "--engine", "slurm", "--sbatch", "time=60")
    wait_until(has_evaluations(campaign, NEVER), "evaluations")
    (job_id,) = slurm_jobs.keys(plan.folder)
    # As Slurm does before a job's time is up.
    subprocess.run(["scancel", "--signal=USR2", job_id], check=True)
    wait_until(lambda: campaign.look(NEVER).outcome is Outcome.PREEMPTED, "a stop")
    steps = max(logs.read(plan.folder)[0].columns["global_step"])
    wait_until(lambda: campaign.look(NEVER).verdict.attempts == 2, "a second attempt")
    wait_until(
        lambda: max(logs.read(plan.folder)[0].columns["global_step"]) > steps, "steps"
    )
    assert list(slurm_jobs.keys(plan.folder)) == [job_id], "it was the same job"
    found = logs.read(plan.folder)[0].columns["global_step"].tolist()
    assert found == sorted(set(found)), "a step was logged twice"
    command = ["algoperf.cli", "campaign", "cancel", str(plan.folder)]
    python = [sys.executable, "-m"]
    out = subprocess.run([*python, *command], capture_output=True, text=True).stdout
    assert f"Cancelled the Slurm jobs {job_id}." in out
    out, _ = driver.communicate(timeout=90)
    assert driver.returncode == 75, out
    wait_until(lambda: queue(job_id) == "", "an empty queue")
    assert campaign.look(NEVER).verdict.state is State.WAITING


@pytest.mark.slow
def test_a_new_driver_takes_over_the_jobs_of_one_that_died(slurm, make_plan, tmp_path):
    plan = endless(make_plan, tmp_path)
    campaign = Campaign(plan)
    driver = start_driver(plan, "--engine", "slurm")
    wait_until(has_evaluations(campaign, NEVER), "evaluations")
    driver.kill()
    driver.communicate()
    (job_id,) = slurm_jobs.keys(plan.folder)
    assert queue(job_id) == "RUNNING"
    engine = SlurmEngine(EngineOptions(), plan.folder)
    engine.start(NEVER, None)
    assert engine.ended(0.0) == []
    assert list(slurm_jobs.keys(plan.folder)) == [job_id], "nothing was submitted"
    engine.stop()
    wait_until(lambda: engine.ended(0.0) != [], "the end of the job")
    assert campaign.look(NEVER).outcome is Outcome.PREEMPTED
