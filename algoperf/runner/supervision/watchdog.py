"""Ends a trial that stands still: stacks of all threads in a file, an outcome, the process's end.

Three look: a thread of the harness, once a second; should it not get to run because native code
keeps the interpreter's lock, the timer of `faulthandler`, which needs no interpreter; and, should
the whole process stand still, the process that started it (`is_overdue`).
"""

import contextlib
import faulthandler
import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psutil

from algoperf import exit_status

HANG_SECONDS = 60.0
HANG_FACTOR = 10.0  # times the median step
# Compiling for the first step and the first evaluation may take long, and so may writing a
# checkpoint of many gigabytes.
PATIENT_SECONDS = 1_800.0
_POLL_SECONDS = 1.0
_GRACE_SECONDS = (
    5.0  # for other processes of the run, which stand still at the same time
)
_MONOTONIC = time.monotonic  # taken before a submission is loaded


class Progress:
    """What a trial tells its watchdog; costs a step nothing but an addition."""

    __slots__ = ("is_patient", "num_signs", "num_steps")

    def __init__(self) -> None:
        self.num_steps = 0
        self.num_signs = 0  # of life outside of steps: evaluated batches
        self.is_patient = True  # until the first evaluation is done

    def sign(self) -> None:
        """Something moves."""
        self.num_signs += 1


class Pace:
    """How long steps take, and how long it has been quiet."""

    def __init__(
        self, progress: Progress, now: Callable[[], float], hang_seconds: float
    ) -> None:
        self._progress = progress
        self._now = now
        self._hang_seconds = hang_seconds
        self._seen = (0, 0)
        self._changed_at = self._step_at = now()
        self._steps: deque[float] = deque(maxlen=1_001)

    def look(self) -> None:
        """Takes note of what has happened since the last look."""
        progress, now = self._progress, self._now()
        seen = (progress.num_steps, progress.num_signs)
        num_steps = seen[0] - self._seen[0]
        if num_steps:
            if self._seen[0]:  # the first ones begin with set-up and compiling
                self._steps.append((now - self._step_at) / num_steps)
            self._step_at = now
        if seen != self._seen:
            self._seen, self._changed_at = seen, now

    @property
    def limit(self) -> float:
        """Seconds of silence that mean that the trial hangs."""
        if self._progress.is_patient:
            return PATIENT_SECONDS
        median = statistics.median(self._steps) if self._steps else 0.0
        return max(self._hang_seconds, HANG_FACTOR * median)

    @property
    def quiet_seconds(self) -> float:
        """Seconds since the last sign of life that was seen."""
        return self._now() - self._changed_at


class Watchdog:
    """Watches from a thread while it is entered; for a process that runs one trial alone."""

    def __init__(
        self,
        progress: Progress,
        stacks: Path,
        *,
        on_hang: Callable[[str], None],
        hang_seconds: float = HANG_SECONDS,
        alive: Path | None = None,
        launcher: psutil.Process | None = None,
        is_one_of_many: bool = False,
    ) -> None:
        """`stacks`: file for the stacks; `alive`: file for `is_overdue`; `launcher`: the process
        without which this one has no purpose; `on_hang` gets the reason."""
        self._pace = Pace(progress, _MONOTONIC, hang_seconds)
        self._stacks = stacks
        self._on_hang = on_hang
        self._alive = alive
        self._launcher = launcher
        self._grace = _GRACE_SECONDS if is_one_of_many else 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="algoperf-watchdog", daemon=True
        )

    def __enter__(self) -> "Watchdog":
        # Opened here: the thread itself must not be seen to touch a file of the logs.
        self._stacks.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._stacks.open("w")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._file.close()
        self._stacks.unlink()

    def _watch(self) -> None:
        self._set_timers()
        while not self._stop.wait(_POLL_SECONDS):
            self._pace.look()
            if self._launcher is not None and not self._launcher.is_running():
                end_process()
            if self._pace.quiet_seconds > self._pace.limit:
                self._end()
            self._set_timers()
        faulthandler.cancel_dump_traceback_later()

    def _set_timers(self) -> None:
        left = self._pace.limit - self._pace.quiet_seconds + 2 * _GRACE_SECONDS
        faulthandler.dump_traceback_later(left, file=self._file, exit=True)
        if self._alive is not None:
            with contextlib.suppress(OSError):
                self._alive.write_text(str(self._pace.limit))

    def _end(self) -> None:
        faulthandler.dump_traceback(file=self._file, all_threads=True)
        self._file.flush()
        self._on_hang(hang_reason(self._pace.limit, self._stacks))
        time.sleep(self._grace)
        end_process()


def end_process() -> None:
    """Ends this process at once, and those that it has started."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(exit_status.FAILED)


def hang_reason(limit: float, stacks: Path) -> str:
    """The sentence about a trial that hung."""
    return (
        f"nothing moved for {limit:.0f} s; {stacks.name} in the trial's folder shows what "
        "every thread was doing"
    )


def is_overdue(alive: Path) -> bool:
    """Whether a watchdog that writes `alive` should have ended its process long ago."""
    try:
        limit = float(alive.read_text())
        quiet = time.time() - alive.stat().st_mtime
    except (OSError, ValueError):  # not begun yet, or being written
        return False
    return quiet > limit + 6 * _GRACE_SECONDS
