"""Which Slurm jobs belong to a campaign: written by the engine, read by `cancel`."""

import subprocess
from pathlib import Path

from algoperf.errors import MissingDependency
from algoperf.log_folders import CAMPAIGN_FOLDER


def folder_of(campaign: Path) -> Path:
    """Where scripts, output and job ids of Slurm are kept."""
    return campaign / CAMPAIGN_FOLDER / "slurm"


def note(campaign: Path, job_ids: list[str]) -> None:
    """Keeps the ids of jobs that have been submitted."""
    path = folder_of(campaign) / "job_ids"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(f"{job_id}\n" for job_id in job_ids)


def noted(campaign: Path) -> list[str]:
    """All ids that were noted, of arrays the array's."""
    try:
        lines = (folder_of(campaign) / "job_ids").read_text().split()
    except FileNotFoundError:
        return []
    return sorted({line.partition("_")[0] for line in lines})


def queued(job_ids: list[str]) -> set[str]:
    """Those of the jobs, as `ARRAY_TASK`, that are waiting or running."""
    if not job_ids:
        return set()
    command = ["squeue", "--noheader", "--array", "--format=%A %F %a %i"]
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
    return {line.split()[-1] for line in result.stdout.splitlines()} & wanted


def cancel(campaign: Path) -> list[str]:
    """Cancels the campaign's jobs; returns the ids of the arrays that were still there."""
    arrays = noted(campaign)
    if not arrays:
        return []
    result = subprocess.run(
        ["squeue", "--noheader", "--format=%F"], capture_output=True, text=True
    )
    there = [array for array in arrays if array in result.stdout.split()]
    if there:
        subprocess.run(["scancel", *there], check=True)
    return there
