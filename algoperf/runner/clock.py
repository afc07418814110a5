"""The clock: what is charged to a submission is what is indented under `clock.submission()`.

Every moment of a trial belongs to one phase; phases never nest. What is left between the sum of
the phases and the wall time is reported as unaccounted.
"""

import enum
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol

# Taken at import, before a submission is loaded: replacing `time.perf_counter` later has no effect.
_MONOTONIC = time.perf_counter


class Phase(enum.Enum):
    """To whom time is charged."""

    SETUP = "setup"
    SUBMISSION = "submission"
    EVALUATION = "evaluation"
    LOGGING = "logging"
    CHECKPOINT = "checkpoint"
    INSTRUMENTS = "instruments"


class Numbers(Protocol):
    """Numbers that can be set by their place."""

    def __setitem__(self, place: int, value: float, /) -> None:
        """Sets one."""
        ...


class Clock:
    """Adds up the seconds of each phase of a trial, on a monotonic clock.

    `earlier` are the seconds by phase of the parts of this trial before it was resumed.
    `started` is when the process began, in the units of `now`, so that set-up before the
    clock was made is accounted for. `board` shows others, in its first three places, what the
    clock does: 1 + the index of the running phase (0: none), since when it runs, and the
    submission's seconds before that.
    """

    def __init__(
        self,
        now: Callable[[], float] = _MONOTONIC,
        *,
        earlier: Mapping[str, float] | None = None,
        started: float | None = None,
        board: Numbers | None = None,
    ) -> None:
        self._now = now
        self._board: Numbers = [0.0] * 3 if board is None else board
        earlier = earlier or {}
        self._seconds = {phase: earlier.get(phase.value, 0.0) for phase in Phase}
        begin = now() if started is None else started
        self._seconds[Phase.SETUP] += now() - begin
        self._begin = begin - earlier.get("total", 0.0)
        self._running: Phase | None = None
        self._since = 0.0
        self._timers = {phase: _Timer(self, phase) for phase in Phase}
        self._codes = {phase: 1.0 + index for index, phase in enumerate(Phase)}
        self._show_submission_seconds()

    def submission(self) -> "_Timer":
        """Charges the block to the submission."""
        return self._timers[Phase.SUBMISSION]

    def evaluation(self) -> "_Timer":
        """Charges the block to evaluation."""
        return self._timers[Phase.EVALUATION]

    def logging(self) -> "_Timer":
        """Charges the block to logging."""
        return self._timers[Phase.LOGGING]

    def checkpoint(self) -> "_Timer":
        """Charges the block to checkpointing."""
        return self._timers[Phase.CHECKPOINT]

    def instruments(self) -> "_Timer":
        """Charges the block to what looks at training steps."""
        return self._timers[Phase.INSTRUMENTS]

    def setup(self) -> "_Timer":
        """Charges the block to set-up: data, model initialisation."""
        return self._timers[Phase.SETUP]

    def seconds(self, phase: Phase) -> float:
        """Seconds of a phase so far, the running block included."""
        running = self._now() - self._since if self._running is phase else 0.0
        return self._seconds[phase] + running

    @property
    def submission_seconds(self) -> float:
        """Seconds charged to the submission so far."""
        return self.seconds(Phase.SUBMISSION)

    @property
    def total_seconds(self) -> float:
        """Wall time of the trial, earlier parts included."""
        return self._now() - self._begin

    @property
    def is_submission(self) -> bool:
        """Whether the submission's clock runs now."""
        return self._running is Phase.SUBMISSION

    def resume_from(self, earlier: Mapping[str, float]) -> None:
        """Continues a resumed trial: `earlier` is its accounting at the checkpoint.

        What this process has done so far counts as set-up: the trial has paid for the import
        of its submission before.
        """
        self._seconds[Phase.SETUP] += self._seconds[Phase.SUBMISSION]
        self._seconds[Phase.SUBMISSION] = 0.0
        for phase in Phase:
            self._seconds[phase] += earlier.get(phase.value, 0.0)
        self._begin -= earlier.get("total", 0.0)
        self._show_submission_seconds()

    def advance_to(self, seconds: float) -> None:
        """Takes over the slowest process's submission time: a run's clock is the maximum."""
        self._seconds[Phase.SUBMISSION] = max(self._seconds[Phase.SUBMISSION], seconds)
        self._show_submission_seconds()

    def refund(self, seconds: float) -> None:
        """Books seconds of the submission as set-up: what it has been charged before."""
        self._seconds[Phase.SUBMISSION] -= seconds
        self._seconds[Phase.SETUP] += seconds
        self._show_submission_seconds()

    def accounting(self) -> dict[str, float]:
        """Seconds by phase, `total` (wall time) and `unaccounted` (what no phase covers)."""
        seconds = {phase.value: self.seconds(phase) for phase in Phase}
        total = self.total_seconds
        unaccounted = total - sum(seconds.values())
        return {**seconds, "total": total, "unaccounted": unaccounted}

    def _start(self, phase: Phase) -> None:
        if self._running is not None:
            raise RuntimeError(
                f"The clock already runs for {self._running.value}; {phase.value} cannot "
                "start inside it: every moment belongs to one phase."
            )
        self._running = phase
        self._since = self._now()
        self._board[1] = self._since
        self._board[0] = self._codes[phase]

    def _stop(self) -> None:
        assert self._running is not None
        self._seconds[self._running] += self._now() - self._since
        self._running = None
        self._board[0] = 0.0
        self._board[2] = self._seconds[Phase.SUBMISSION]

    def _show_submission_seconds(self) -> None:
        self._board[2] = self._seconds[Phase.SUBMISSION]


class _Timer:
    """Context manager for one phase; made once per clock, so that entering costs little."""

    __slots__ = ("_clock", "_phase")

    def __init__(self, clock: Clock, phase: Phase) -> None:
        self._clock = clock
        self._phase = phase

    def __enter__(self) -> None:
        self._clock._start(self._phase)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._clock._stop()
