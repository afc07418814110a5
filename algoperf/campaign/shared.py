"""Runs trials that nobody times, many in each process: see `procedures.shared_runs`.

Their folders are those of ordinary trials, so what is done is read from there, and the same call
runs only what is missing.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from algoperf import exit_status, logs
from algoperf.errors import BadSettings
from algoperf.procedures import shared_runs
from algoperf.runner.plan import TrialPlan

COMMAND = (sys.executable, "-P", "-m")
SHARED = "algoperf.procedures.shared_runs"
STACKED = "algoperf.procedures.stacked_jax"
_SECONDS_BETWEEN_WORDS = 15.0
_LOOK_SECONDS = 0.2


@dataclass
class Report:
    """What has come of trials."""

    num_done: int = 0
    is_stopped: bool = False
    problems: list[str] = field(default_factory=list)  # of processes


def left(plans: Sequence[TrialPlan]) -> list[TrialPlan]:
    """The trials that are not finished.

    BadSettings where a folder holds a trial with another point.
    """
    for plan in plans:
        if not (plan.folder / logs.HYPERPARAMETERS_FILE).exists():
            continue
        trial = logs.read_trial(plan.id, plan.folder)
        if dict(trial.hyperparameters or {}) != dict(plan.point or {}):
            raise BadSettings(
                f"{plan.folder} holds a trial with other hyperparameters than this call "
                "asks for. Give the same options as before, or choose another --folder."
            )
    return [plan for plan in plans if not shared_runs.is_finished(plan)]


def run(
    plans: Sequence[TrialPlan],
    jobs: int,
    say: Callable[[str], None],
    *,
    is_stacked: bool = False,
) -> Report:
    """Runs what is missing, in `jobs` processes for each framework and workload in turn.

    is_stacked: many points in one program of JAX, see `procedures.stacked_jax`. Ctrl-C stops
    it: trials that were running start anew the next time.
    """
    report = Report()
    waiting = left(plans)
    groups: dict[tuple[str, str], list[TrialPlan]] = {}
    for plan in waiting:
        key = plan.settings.framework, plan.settings.workload
        groups.setdefault(key, []).append(plan)
    for (_, workload), group in groups.items():
        say(f"{workload}: {len(group)} runs to do")
        module = STACKED if is_stacked else SHARED
        _Group(group, jobs, say, report, [*COMMAND, module]).run()
        if report.is_stopped:
            break
    return report


@dataclass
class _Group:
    """The trials of one framework and workload, dealt out to processes."""

    plans: Sequence[TrialPlan]
    jobs: int
    say: Callable[[str], None]
    report: Report
    command: Sequence[str]
    _num_done: int = 0

    def run(self) -> None:
        """Runs them all."""
        # By optimizer, so that a stack is not dealt out to several processes.
        plans = sorted(self.plans, key=lambda plan: plan.settings.experiment_name)
        if STACKED not in self.command:
            plans = list(self.plans)
        size = -(-len(plans) // self.jobs)
        hands = (
            [plans[i : i + size] for i in range(0, len(plans), size)]
            if STACKED in self.command
            else [plans[i :: self.jobs] for i in range(self.jobs)]
        )
        with tempfile.TemporaryFile("w+") as errors:
            workers = [self._started(hand, errors) for hand in hands if hand]
            readers = [
                threading.Thread(target=self._count, args=(worker,), daemon=True)
                for worker in workers
            ]
            for reader in readers:
                reader.start()
            try:
                self._wait(workers)
            except KeyboardInterrupt:
                self.report.is_stopped = True
            finally:
                for worker in workers:
                    worker.terminate()
                    worker.wait()
                for reader in readers:
                    reader.join()
                for worker in workers:
                    if worker.stdout is not None:
                        worker.stdout.close()
            errors.seek(0)
            self._judge(workers, errors.read())

    def _started(
        self, hand: Sequence[TrialPlan], errors: IO[str]
    ) -> "subprocess.Popen[str]":
        settings = hand[0].settings
        worker = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(settings.environment),
            start_new_session=True,  # a terminal's Ctrl-C is answered here
            text=True,
        )
        assert worker.stdin is not None
        with worker.stdin as lines:
            for plan in hand:
                lines.write(f"{plan.dumps()}\n")
        return worker

    def _count(self, worker: "subprocess.Popen[str]") -> None:
        assert worker.stdout is not None
        for _ in worker.stdout:
            self._num_done += 1

    def _wait(self, workers: Sequence["subprocess.Popen[str]"]) -> None:
        began = last = time.monotonic()
        while any(worker.poll() is None for worker in workers):
            time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            if now - last > _SECONDS_BETWEEN_WORDS:
                last = now
                self.say(self._progress(now - began))

    def _progress(self, seconds: float) -> str:
        done, number = self._num_done, len(self.plans)
        words = f"{done} of {number} runs in {seconds / 60:.1f} min"
        if done:
            words += f", about {seconds / done * (number - done) / 60:.0f} min to go"
        return words

    def _judge(self, workers: Sequence["subprocess.Popen[str]"], errors: str) -> None:
        self.report.num_done += self._num_done
        codes = {worker.returncode for worker in workers} - {exit_status.OK}
        if codes and not self.report.is_stopped:
            last = (errors.strip().splitlines() or ["no message"])[-1]
            self.report.problems.append(
                f"a process that ran trials exited with status {min(codes)}: {last}"
            )


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """This process's variables, and those of a trial that the user has not set."""
    return {**own, **os.environ}


def trial_of(plan: TrialPlan) -> logs.Trial | None:
    """What a trial has logged; None where it has not begun."""
    if not (plan.folder / logs.HYPERPARAMETERS_FILE).exists():
        return None
    return logs.read_trial(plan.id, plan.folder)


def points_file(path: Path, text: str) -> Path:
    """The search space that trials' settings name, written where it differs."""
    if not path.exists() or path.read_text() != text:
        logs.write_atomically(path, text)
    return path
