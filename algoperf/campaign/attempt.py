"""One attempt at a trial, in a process of its own: what every engine starts.

`python -m algoperf.campaign.attempt` reads a job from its standard input and launches the trial.
Whatever happens stands in the folder afterwards: the trial's outcome, and a record of the attempt.
If the process that started it ends, the trial is stopped with a checkpoint.
"""

import dataclasses
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import exit_status, logs
from algoperf.campaign import hardware
from algoperf.campaign.records import BEGAN, ENDED, Records
from algoperf.campaign.verdict import Cause, State, cause_of, judge
from algoperf.errors import AlgoPerfError, BadLogs
from algoperf.runner.launch import WrongInput, launch
from algoperf.runner.plan import TrialPlan
from algoperf.runner.settings import Settings
from algoperf.runner.supervision.folder_lock import locked

COMMAND = [sys.executable, "-P", "-m", "algoperf.campaign.attempt"]
_LOOK_SECONDS = 0.5
# For an earlier attempt whose driver is gone, and which is being stopped.
_PATIENCE_SECONDS = 20.0
BUSY = 3  # exit status: another attempt at the trial goes on


@dataclass(frozen=True)
class Job:
    """What an engine hands to an attempt."""

    plan: TrialPlan
    folder: Path  # of the campaign
    engine: str = ""
    is_scored: bool = True  # then a study's trials need machines of one kind
    calibrate: Settings | None = None  # what measures a machine before its first trial
    cores: tuple[int, ...] = ()  # empty: all
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def dumps(self) -> str:
        """As JSON text."""
        content = {
            "plan": self.plan.dumps(),
            "folder": str(self.folder),
            "engine": self.engine,
            "is_scored": self.is_scored,
            "calibrate": self.calibrate and self.calibrate.as_json(),
            "cores": self.cores,
            "environment": dict(self.environment),
        }
        return json.dumps(content)

    @classmethod
    def loads(cls, text: str) -> "Job":
        """The inverse of `dumps`."""
        values = json.loads(text)
        values["plan"] = TrialPlan.loads(values["plan"])
        values["folder"] = Path(values["folder"])
        values["cores"] = tuple(values["cores"])
        if values["calibrate"] is not None:
            values["calibrate"] = Settings.from_json(values["calibrate"])
        return cls(**values)


def run(job: Job) -> int:
    """Runs the job's trial unless that is done already; returns the exit status."""
    records = Records(job.folder, job.plan.id)
    patience = job.plan.settings.notice_seconds + _PATIENCE_SECONDS
    try:
        with records.held(patience):
            if not _is_left(job.plan, records):
                return exit_status.OK
            facts = {"host": socket.gethostname(), "engine": job.engine}
            records.append(BEGAN, pid=os.getpid(), **facts)
            end = _launch(job)
            records.append(ENDED, **end)
            return int(end["status"])
    except BadLogs as error:
        print(f"algoperf: {error}", file=sys.stderr)
        return BUSY


def _is_left(plan: TrialPlan, records: Records) -> bool:
    """Whether the trial is still to run: another driver may have seen to it meanwhile."""
    ending = logs.read_outcome(plan.folder)
    verdict = judge(ending, records.read(), is_held=False)
    return verdict.state is State.WAITING


def _launch(job: Job) -> dict[str, Any]:
    """How the attempt ended: its status, outcome, cause, reason, and seconds."""
    plan, start = job.plan, time.monotonic()
    try:
        if job.is_scored:
            hardware.check(job.folder, plan)
        if job.calibrate is not None:
            hardware.calibrate_once(job.folder, job.calibrate)
        # A process of an earlier attempt ends within seconds of that; then this is ours.
        with locked(plan.folder):
            (plan.folder / logs.OUTCOME_FILE).unlink(missing_ok=True)
        ending = launch(plan)
    except WrongInput as error:
        return _failure(Cause.INPUT, error)
    except hardware.UnfitMachine as error:
        return _failure(Cause.HARDWARE, error)
    except (AlgoPerfError, OSError) as error:
        return _failure(Cause.INFRASTRUCTURE, error)
    cause = cause_of(ending.outcome, ending.reason)
    return {
        "status": ending.exit_status,
        "outcome": ending.outcome.value,
        "cause": cause and cause.value,
        "reason": ending.reason,
        "seconds": round(time.monotonic() - start, 3),
    }


def _failure(cause: Cause, error: Exception) -> dict[str, Any]:
    print(f"algoperf: {error}", file=sys.stderr)
    status = exit_status.WRONG_INPUT if cause is Cause.INPUT else exit_status.FAILED
    return {"status": status, "cause": cause.value, "reason": str(error)}


def _keep_stopping(parent: int, stopped: threading.Event) -> None:
    """Sends this process SIGTERM, which stops the trial, once its parent has ended.

    Also again after one that came before anything could answer it.
    """

    def watch() -> None:
        while True:
            if stopped.is_set() or os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(_LOOK_SECONDS)

    threading.Thread(target=watch, name="algoperf-parent", daemon=True).start()


def main() -> int:
    """Runs the job on standard input."""
    parent = os.getppid()
    stopped = threading.Event()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal's is the driver's to answer
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    # Slurm warns every process of a job with it; the one that started this answers.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    job = Job.loads(sys.stdin.read())
    _keep_stopping(parent, stopped)
    if job.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job.cores)
    os.environ.update(job.environment)
    if stopped.is_set():
        return exit_status.PREEMPTED
    return run(job)


if __name__ == "__main__":
    sys.exit(main())
