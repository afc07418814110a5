"""What a trial's process tells the one that launched it while it runs, in shared memory.

A few numbers in a file that both map: writing one costs a step tens of nanoseconds, and they
can be read when the process hangs or has died. All times are of the monotonic clock, which
processes of one machine share; the wall clock may be set while a trial runs.
"""

import mmap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from algoperf.runner.clock import Phase

_MONOTONIC = time.perf_counter  # taken before a submission is loaded
_NUMBER_BYTES = 8


class _Field(IntEnum):
    """Where each number stands; the first three are the clock's (`Clock.board`)."""

    PHASE = 0  # 1 + the index of the phase; 0 between phases
    PHASE_SINCE = 1
    SUBMISSION_SECONDS = 2  # without the running block
    STEP = 3
    BUDGET = 4
    BEAT = 5  # when the watchdog looked last
    QUIET_LIMIT = 6  # how long it may be silent


class Board:
    """The numbers of one process, in a file of its own."""

    def __init__(self, path: Path) -> None:
        size = len(_Field) * _NUMBER_BYTES
        if not path.exists() or path.stat().st_size < size:
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), size)
        self.numbers = memoryview(self._memory).cast("d")

    def beat(self, *, step: int, budget: float, quiet_limit: float) -> None:
        """Says that the process is alive, and for how long it may be silent (seconds)."""
        self.numbers[_Field.STEP] = step
        self.numbers[_Field.BUDGET] = budget
        self.numbers[_Field.QUIET_LIMIT] = quiet_limit
        self.numbers[_Field.BEAT] = _MONOTONIC()


@dataclass(frozen=True)
class Sign:
    """What a board says at one moment."""

    phase: Phase | None  # None: between phases, or not begun
    submission_seconds: float
    step: int
    budget_seconds: float
    silent_seconds: float  # since the watchdog looked last; 0 if it never did
    quiet_limit: float

    @property
    def is_in_submission(self) -> bool:
        """Whether the submission's clock ran."""
        return self.phase is Phase.SUBMISSION

    def is_over_budget(self, by: float) -> bool:
        """Whether the running step has outlasted the budget by more than so many seconds."""
        over = self.submission_seconds - self.budget_seconds
        return self.is_in_submission and self.budget_seconds > 0 and over > by


def read_sign(path: Path) -> Sign:
    """What the board in that file says now."""
    try:
        data = path.read_bytes()
    except OSError:
        data = b""
    numbers: Sequence[float] = memoryview(
        data.ljust(len(_Field) * _NUMBER_BYTES, b"\0")
    ).cast("d")
    code = int(numbers[_Field.PHASE])
    phase = list(Phase)[code - 1] if code else None
    now, beat = _MONOTONIC(), numbers[_Field.BEAT]
    running = now - numbers[_Field.PHASE_SINCE]
    return Sign(
        phase=phase,
        submission_seconds=numbers[_Field.SUBMISSION_SECONDS]
        + (running if phase is Phase.SUBMISSION else 0.0),
        step=int(numbers[_Field.STEP]),
        budget_seconds=numbers[_Field.BUDGET],
        silent_seconds=now - beat if beat else 0.0,
        quiet_limit=numbers[_Field.QUIET_LIMIT],
    )
