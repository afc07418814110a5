"""Ends a trial that does not end by itself: one that stands still, whose step outlasts the
budget, or whose step outlasts the notice that SIGTERM gives.

Three look: a thread of the harness, once a second; should it not get to run because native code
keeps the interpreter's lock, the timer of `faulthandler`, which needs no interpreter; and the
process that launched the trial, which reads the board (see `heartbeat`).
"""

import contextlib
import faulthandler
import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psutil

from algoperf import exit_status
from algoperf.logs import Outcome
from algoperf.runner.clock import Clock
from algoperf.runner.outcomes import Ending
from algoperf.runner.supervision.heartbeat import Board
from algoperf.runner.supervision.preemption import StopRequest

HANG_SECONDS = 60.0
HANG_FACTOR = 10.0  # times the median step
# Compiling for the first step and the first evaluation may take long, and so may writing a
# checkpoint of many gigabytes.
WARMUP_SECONDS = 1_800.0
_POLL_SECONDS = 1.0
# For other processes of the run, which stand still at the same time.
GRACE_SECONDS = 5.0
_MONOTONIC = time.perf_counter  # taken before a submission is loaded


class Heartbeat:
    """What a trial tells its watchdog; costs a step nothing but an addition."""

    __slots__ = ("in_warmup", "num_beats", "num_steps")

    def __init__(self) -> None:
        self.num_steps = 0
        self.num_beats = 0  # of life outside of steps: evaluated batches
        self.in_warmup = True  # until the first evaluation is done

    def beat(self) -> None:
        """Something moves."""
        self.num_beats += 1


class Pace:
    """How long steps take, and how long it has been quiet."""

    def __init__(
        self,
        heartbeat: Heartbeat,
        now: Callable[[], float],
        hang_seconds: float | None = None,
    ) -> None:
        """`hang_seconds` holds from the start; None: `HANG_SECONDS`, longer in warm-up."""
        self._heartbeat = heartbeat
        self._now = now
        self._hang_seconds = hang_seconds
        self._seen = (0, 0)
        self._changed_at = self._step_at = now()
        self._steps: deque[float] = deque(maxlen=1_001)

    def look(self) -> None:
        """Takes note of what has happened since the last look."""
        heartbeat, now = self._heartbeat, self._now()
        seen = (heartbeat.num_steps, heartbeat.num_beats)
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
        if self._heartbeat.in_warmup and self._hang_seconds is None:
            return WARMUP_SECONDS
        median = statistics.median(self._steps) if self._steps else 0.0
        return max(self._hang_seconds or HANG_SECONDS, HANG_FACTOR * median)

    @property
    def quiet_seconds(self) -> float:
        """Seconds since the last sign of life that was seen."""
        return self._now() - self._changed_at


class Since:
    """For how long a condition has held without a break."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._key: object = None
        self._began = 0.0

    def seconds(self, key: object) -> float:
        """Seconds since `key` was seen first and has not changed; 0 for None."""
        if key is None or key != self._key:
            self._key, self._began = key, self._now()
        return self._now() - self._began if key is not None else 0.0


class Overtime:
    """Whether a step goes on although the trial must end: the budget is spent, or SIGTERM came."""

    def __init__(
        self,
        clock: Clock,
        heartbeat: Heartbeat,
        stop: StopRequest,
        notice_seconds: float,
        now: Callable[[], float] = _MONOTONIC,
    ) -> None:
        self.budget_seconds = float("inf")  # known when the workload is bound
        self._clock = clock
        self._heartbeat = heartbeat
        self._stop = stop
        self._notice = notice_seconds
        self._over_budget = Since(now)
        self._stopping = Since(now)

    def look(self) -> Ending | None:
        """How the trial must end now, if it must."""
        step = self._heartbeat.num_steps
        is_over = (
            self._clock.is_submission
            and self._clock.submission_seconds > self.budget_seconds
        )
        if self._over_budget.seconds(step if is_over else None) > self._notice:
            return Ending(Outcome.NOT_REACHED, spent_in_step(self.budget_seconds, step))
        if self._stopping.seconds(self._stop.is_set or None) > self._notice:
            return Ending(Outcome.PREEMPTED, outlasted_notice(self._notice))
        return None


def spent_in_step(budget_seconds: float, num_steps: int) -> str:
    """The sentence about a step that outlasted the budget; `num_steps` were done before."""
    return (
        f"the budget of {budget_seconds:.6g} s was spent in the call that followed step "
        f"{num_steps}, and it did not return"
    )


def outlasted_notice(notice_seconds: float) -> str:
    """The sentence about a trial that did not end by itself after SIGTERM."""
    return (
        f"SIGTERM came and the running step did not end within {notice_seconds:g} s; resume "
        "it from its last checkpoint with --resume"
    )


@dataclass(frozen=True)
class Watch:
    """Where a watchdog looks and writes, for a process that runs one trial alone."""

    stacks: Path  # file for what every thread was doing
    board: Board | None = None
    launcher: psutil.Process | None = None  # without which this process has no purpose
    hang_seconds: float | None = None
    is_one_of_many: bool = False
    # Called with the ending, before the process ends.
    on_end: Callable[[Ending], None] = field(default=lambda ending: None)


class Watchdog:
    """Watches from a thread while it is entered."""

    def __init__(self, heartbeat: Heartbeat, overtime: Overtime, watch: Watch) -> None:
        self._heartbeat = heartbeat
        self._pace = Pace(heartbeat, _MONOTONIC, watch.hang_seconds)
        self._overtime = overtime
        self._watch = watch
        self._grace = GRACE_SECONDS if watch.is_one_of_many else 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="algoperf-watchdog", daemon=True
        )

    def __enter__(self) -> "Watchdog":
        # Opened here: the thread itself must not be seen to touch a file of the logs.
        self._file = self._watch.stacks.open("w")
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
        self._watch.stacks.unlink(missing_ok=True)

    def _run(self) -> None:
        self._set_timers()
        while not self._stop.wait(_POLL_SECONDS):
            self._pace.look()
            if self._watch.launcher is not None and _has_ended(self._watch.launcher):
                end_process()
            ending = self._overtime.look() or self._hang()
            if ending is not None:
                self._end(ending)
            self._set_timers()
        faulthandler.cancel_dump_traceback_later()

    def _hang(self) -> Ending | None:
        limit = self._pace.limit
        if self._pace.quiet_seconds <= limit:
            return None
        return Ending(
            Outcome.INFRASTRUCTURE_CRASHED,
            f"nothing moved for {limit:.0f} s; {self._watch.stacks.name} in the trial's "
            "folder shows what every thread was doing",
        )

    def _set_timers(self) -> None:
        limit = self._pace.limit
        left = limit - self._pace.quiet_seconds + 2 * GRACE_SECONDS
        faulthandler.dump_traceback_later(left, file=self._file, exit=True)
        if self._watch.board is not None:
            self._watch.board.beat(
                step=self._heartbeat.num_steps,
                budget=self._overtime.budget_seconds,
                quiet_limit=limit,
            )

    def _end(self, ending: Ending) -> None:
        faulthandler.dump_traceback(file=self._file, all_threads=True)
        self._file.flush()
        self._watch.on_end(ending)
        time.sleep(self._grace)
        end_process(ending.exit_status)


def _has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more, even if nobody has taken note of its end yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def end_process(status: int = exit_status.FAILED) -> None:
    """Ends this process at once, and those that it has started."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(status)
