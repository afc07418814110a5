"""Engines place attempts on machines, and know nothing else: what came of one stands in its folder.

Here are their protocol, and the engines of one machine. `ray_engine` and `slurm_engine` import
their library when they are made.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from algoperf.campaign import hardware
from algoperf.campaign.attempt import COMMAND, Job
from algoperf.campaign.records import Records
from algoperf.errors import BadSettings

NAMES = ("local", "ray", "slurm")
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Ended:
    """An attempt that has ended, and how, for one that could not record anything itself."""

    key: str
    how: str = ""


class Engine(Protocol):
    """What a driver asks of an engine."""

    name: str

    @property
    def slots(self) -> int:
        """Attempts that it takes at a time; may change."""
        ...

    def start(self, key: str, job: Job) -> None:
        """Starts an attempt, or puts it into a queue; returns at once."""
        ...

    def ended(self, seconds: float) -> list[Ended]:
        """The attempts that have ended; waits for one for at most that long."""
        ...

    def stop(self) -> None:
        """Asks all attempts to stop with a checkpoint; they still end."""
        ...

    def close(self) -> None:
        """Ends what is left, and gives up what the engine holds."""
        ...


@dataclass(frozen=True)
class EngineOptions:
    """What people may choose about an engine."""

    jobs: int = 1  # attempts at a time on this machine
    max_nodes: int | None = None
    is_scored: bool = True
    address: str | None = None  # of a Ray cluster
    per_node: int = 1  # attempts at a time on a node; more only where nothing is scored
    sbatch: tuple[tuple[str, str], ...] = ()


class LocalEngine:
    """Runs attempts on this machine, each on cores and GPUs of its own."""

    name = "local"

    def __init__(self, options: EngineOptions) -> None:
        self.slots = options.jobs
        self._shares = shares(options.jobs)
        self._running: dict[str, tuple[subprocess.Popen[str], int]] = {}

    def start(self, key: str, job: Job) -> None:
        """See `Engine`."""
        taken = {share for _, share in self._running.values()}
        number = next(i for i in range(self.slots) if i not in taken)
        share = self._shares[number]
        process = start_attempt(share.given_to(job))
        self._running[key] = process, number

    def ended(self, seconds: float) -> list[Ended]:
        """See `Engine`."""
        until = time.monotonic() + seconds
        while True:
            found = [
                Ended(key, f"its process exited with status {process.returncode}")
                for key, (process, _) in self._running.items()
                if process.poll() is not None
            ]
            if found or time.monotonic() > until:
                break
            time.sleep(_LOOK_SECONDS)
        for ended in found:
            del self._running[ended.key]
        return found

    def stop(self) -> None:
        """See `Engine`."""
        for process, _ in self._running.values():
            process.terminate()

    def close(self) -> None:
        """See `Engine`."""
        self.stop()
        for process, _ in self._running.values():
            process.wait()


@dataclass(frozen=True)
class Share:
    """The part of this machine that one attempt at a time gets."""

    cores: tuple[int, ...] = ()  # empty: all
    gpus: tuple[str, ...] | None = None  # None: all

    def given_to(self, job: Job) -> Job:
        """The job, which will see this part alone."""
        environment = dict(job.environment)
        if self.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return Job(**{**vars(job), "cores": self.cores, "environment": environment})


def shares(jobs: int) -> list[Share]:
    """Disjoint parts of this machine, of equal size; `BadSettings` if there are too few cores."""
    if jobs == 1:
        return [Share()]
    cores = _cores()
    if jobs > len(cores):
        raise BadSettings(
            f"--jobs is {jobs}, but this process may use {len(cores)} cores. Give at most "
            f"--jobs {len(cores)}."
        )
    gpus = _gpu_names()
    if gpus and jobs > len(gpus):
        raise BadSettings(
            f"--jobs is {jobs}, but there are {len(gpus)} GPUs. Give at most --jobs "
            f"{len(gpus)}."
        )
    per_job, gpus_per_job = len(cores) // jobs, len(gpus) // jobs
    return [
        Share(
            tuple(cores[i * per_job : (i + 1) * per_job]),
            tuple(gpus[i * gpus_per_job : (i + 1) * gpus_per_job]) if gpus else None,
        )
        for i in range(jobs)
    ]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _gpu_names() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [word.strip() for word in visible.split(",") if word.strip()]
    return [str(number) for number in range(hardware.gpu_count())]


def start_attempt(
    job: Job, environment: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Starts the process of an attempt, whose output goes to a file of the trial.

    environment: all its variables; None: as those of this process.
    """
    output = Records(job.folder, job.plan.id).output_path
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("a") as file:
        process = subprocess.Popen(
            COMMAND,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            # A terminal's Ctrl-C is the driver's to answer.
            start_new_session=True,
            text=True,
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(job.dumps())
    return process


def make(name: str, options: EngineOptions, folder: Path) -> Engine:
    """The engine of that name. folder: the campaign's."""
    if name == "local":
        return LocalEngine(options)
    makers: dict[str, Callable[[], Any]] = {"ray": _ray, "slurm": _slurm}
    engine: Engine = makers[name]()(options, folder)
    return engine


def _ray() -> Any:
    from algoperf.campaign.ray_engine import RayEngine

    return RayEngine


def _slurm() -> Any:
    from algoperf.campaign.slurm_engine import SlurmEngine

    return SlurmEngine
