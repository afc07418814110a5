"""Which Slurm jobs belong to a campaign: written by the engine, read by `cancel`."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from algoperf.errors import MissingDependency
from algoperf.log_folders import CAMPAIGN_FOLDER

_FILE = "jobs"  # a line for each: its id and the trial's key


def folder_of(campaign: Path) -> Path:
    """Where scripts, output and job ids of Slurm are kept."""
    return campaign / CAMPAIGN_FOLDER / "slurm"


def note(campaign: Path, jobs: Mapping[str, str]) -> None:
    """Keeps which trial, by its key, each job runs that has been submitted."""
    path = folder_of(campaign) / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(f"{job_id} {key}\n" for job_id, key in jobs.items())


def keys(campaign: Path) -> dict[str, str]:
    """The trials of all jobs that were noted, by job id."""
    try:
        lines = (folder_of(campaign) / _FILE).read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = [line.split(" ", 1) for line in lines]
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def queued(job_ids: list[str]) -> set[str]:
    """Those of the jobs, as `ARRAY_TASK`, that are waiting or running."""
    if not job_ids:
        return set()
    command = ["squeue", "--noheader", "--array", "--format=%i"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        raise MissingDependency(
            "There is no command squeue. Run this on a machine of the Slurm cluster."
        ) from None
    except subprocess.TimeoutExpired:
        return set(job_ids)  # as far as is known
    if result.returncode:
        return set(job_ids)
    wanted = set(job_ids)
    return set(result.stdout.split()) & wanted


def cancel(campaign: Path) -> list[str]:
    """Cancels the campaign's jobs; returns the ids of those that were still there."""
    there = sorted(queued(list(keys(campaign))))
    if there:
        subprocess.run(["scancel", *there], check=True)
    return there
