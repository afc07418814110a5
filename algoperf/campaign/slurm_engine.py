"""Places attempts as jobs of Slurm arrays, through submitit: no service of ours runs anywhere.

A job that Slurm preempts, or whose time is up, is requeued and goes on from its checkpoint.
Scripts, output and job ids are kept in the campaign's folder, which all nodes must share. A driver
that starts while jobs of an earlier one are still queued takes them over.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from algoperf import console
from algoperf.campaign import slurm_jobs
from algoperf.campaign.attempt import Job
from algoperf.campaign.engines import Ended, EngineOptions, start_attempt
from algoperf.errors import BadSettings, MissingDependency

_LOOK_SECONDS = 5.0
_ATTEMPT_LOOK_SECONDS = 0.5
_MOST_JOBS = 10_000  # in the queue; Slurm's own limit of an array is usually 1,001
_ARRAY_SIZE = 1_000
_DAY_MINUTES = 1_440
# After Slurm's warning that a job's time is up, so that a step may end and a checkpoint be written.
_SIGNAL_MARGIN_SECONDS = 60
_NO_LIMIT = 1_000_000  # of timeouts: each one resumes


class SlurmEngine:
    """Runs attempts as jobs, a node for each timed one."""

    name = "slurm"
    slots = _MOST_JOBS

    def __init__(self, options: EngineOptions, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._jobs_folder = slurm_jobs.folder_of(folder)
        self._submitit = _imported()
        self._waiting: list[tuple[str, Job]] = []
        known = slurm_jobs.keys(folder)
        there = slurm_jobs.queued(list(known))
        self._earlier = {known[job_id]: job_id for job_id in there}
        self._running: dict[str, str] = {}  # key by job id

    def start(self, key: str, job: Job) -> None:
        """See `engines.Engine`: jobs are submitted together, when their end is asked for."""
        if earlier := self._earlier.pop(key, None):
            self._running[earlier] = key
        else:
            self._waiting.append((key, job))

    def ended(self, seconds: float) -> list[Ended]:
        """See `engines.Engine`."""
        while self._waiting:
            self._submit(self._waiting[:_ARRAY_SIZE])
            del self._waiting[:_ARRAY_SIZE]
        if not self._running:
            return []
        there = slurm_jobs.queued(list(self._running))
        gone = [job_id for job_id in self._running if job_id not in there]
        if not gone:
            time.sleep(max(seconds, _LOOK_SECONDS))
        return [
            Ended(self._running.pop(job_id), f"Slurm job {job_id} ended")
            for job_id in gone
        ]

    def stop(self) -> None:
        """See `engines.Engine`."""
        self._waiting.clear()
        if self._running:
            subprocess.run(["scancel", *self._running], check=False)

    def close(self) -> None:
        """Leaves jobs to Slurm: the next driver takes them over."""

    def _submit(self, attempts: list[tuple[str, Job]]) -> None:
        seconds = attempts[0][1].plan.settings.notice_seconds
        executor = self._executor(seconds)
        try:
            with executor.batch():  # one array
                jobs = [executor.submit(SlurmAttempt(j.dumps())) for _, j in attempts]
        except (RuntimeError, subprocess.SubprocessError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise BadSettings(f"Slurm refused the jobs: {reason}") from None
        ids = [job.job_id for job in jobs]
        keys = [key for key, _ in attempts]
        slurm_jobs.note(self._folder, dict(zip(ids, keys, strict=True)))
        self._running.update(zip(ids, keys, strict=True))
        first = ids[0].partition("_")[0]
        console.tell(
            f"Slurm job {first}: {len(ids)} trials; scripts in {self._jobs_folder}"
        )

    def _executor(self, notice_seconds: float) -> Any:
        executor = self._submitit.SlurmExecutor(
            folder=self._jobs_folder,
            max_num_timeout=_NO_LIMIT,
            python=shlex.join([sys.executable, "-P"]),
        )
        own = dict(self._options.sbatch)
        minutes = own.pop("time", str(_DAY_MINUTES))
        if not minutes.isdigit():
            raise BadSettings(
                f"--sbatch time={minutes} must be a whole number of minutes."
            )
        parameters: dict[str, Any] = {
            "job_name": "algoperf",
            "time": int(minutes),
            "nodes": 1,
            "ntasks_per_node": 1,
            "signal_delay_s": int(notice_seconds) + _SIGNAL_MARGIN_SECONDS,
            "array_parallelism": self._options.max_nodes or _ARRAY_SIZE,
            # The step gets all that the job has: one task would be bound to one core.
            "srun_args": ["--whole", "--cpu-bind=none"],
            "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True, **own},
        }
        if self._options.is_scored:
            parameters["exclusive"] = True
        executor.update_parameters(**parameters)
        return executor


class SlurmAttempt:
    """What a job does: an attempt in a process of its own, stopped before Slurm's time is up."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pid: int | None = None

    def __call__(self) -> int:
        """Runs the attempt to its end; returns its exit status, -1 where it is not known."""
        process = start_attempt(Job.loads(self.text))
        self.pid = process.pid
        # No blocking wait: `checkpoint` interrupts this, and waits too.
        while not _has_ended(process.pid):
            time.sleep(_ATTEMPT_LOOK_SECONDS)
        status = process.poll()
        return -1 if status is None else status

    def checkpoint(self, *arguments: Any) -> Any:
        """Called by submitit on Slurm's warning, before it requeues the job."""
        from submitit.helpers import DelayedSubmission

        if self.pid is not None:
            try:
                attempt = psutil.Process(self.pid)
                attempt.terminate()
                attempt.wait()
            except psutil.Error:
                pass  # it has ended by itself
        return DelayedSubmission(SlurmAttempt(self.text))


def _has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return True


def _imported() -> Any:
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"The Slurm engine needs the package {error.name!r}. Run: pip install "
            "'algoperf[slurm]'."
        ) from None
    if not any(
        os.access(os.path.join(folder, "sbatch"), os.X_OK)
        for folder in os.environ.get("PATH", "").split(os.pathsep)
    ):
        raise MissingDependency(
            "There is no command sbatch. Run this on a machine of the Slurm cluster."
        )
    return submitit
