"""Finds work that is done while the submission's clock stands still.

Two look at every phase that is not charged. A thread of the harness samples which code all
threads run, and counts the moments in which a submission's is among it: hooks, overridden
methods, finalizers and pools are found alike, whatever they hang on. And the CPU time of workers
that may be left waiting (idle pools, helpers of compilers, children) is measured.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import FrameType

import psutil

from algoperf.runner.clock import Phase

_PERIOD_SECONDS = 0.02
# Sampled moments that are no accident: of one phase, of a whole trial.
_HITS_OF_PHASE, _HITS_OF_TRIAL = 2, 4
# CPU time of other workers that is no work: seconds, and a share of the phase.
_CPU_SECONDS, _CPU_SHARE = 0.05, 0.02
_MAX_FOUND = 5
# In set-up a resumed trial calls the submission without charging it again.
_WATCHED = frozenset(Phase) - {Phase.SETUP, Phase.SUBMISSION}
_MONOTONIC = time.perf_counter  # taken before a submission is loaded
_SLEEP = time.sleep
_FRAMES = sys._current_frames
_IDENT = threading.get_ident


class OffClockSampler:
    """Samples the code that runs in phases which are not charged; a `PhaseListener`."""

    def __init__(self, folders: Collection[Path], *, period: float = _PERIOD_SECONDS):
        """`folders`: in which the submission's code lies."""
        self.found: list[str] = []
        self.harness_threads: Callable[[], Collection[threading.Thread]] = tuple
        self._prefixes = tuple({f"{p}{os.sep}" for f in folders for p in _spellings(f)})
        self._period = period
        # By name of file; what is loaded by now is none of the submission's.
        files = [getattr(module, "__file__", None) for module in sys.modules.values()]
        self._is_submissions = {str(file): False for file in files if file}
        self._untimed = threading.Event()
        self._phase: Phase | None = None
        self._hits = self._hits_of_phase = 0
        self._is_over = False
        self._thread = threading.Thread(
            target=self._run, name="algoperf-sampler", daemon=True
        )

    def __enter__(self) -> "OffClockSampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._untimed.set()
        self._thread.join()

    def begin(self, phase: Phase) -> None:
        """See `PhaseListener`."""
        if phase not in _WATCHED:
            return
        self._hits_of_phase = 0
        self._phase = phase
        self._untimed.set()

    def end(self, phase: Phase) -> None:
        """See `PhaseListener`."""
        self._phase = None
        self._untimed.clear()

    def _run(self) -> None:
        own = {_IDENT()}
        while self._untimed.wait() and not self._is_over:
            phase = self._phase
            _SLEEP(self._period)
            if phase is not None and phase is self._phase:
                self._look(phase, own)

    def _look(self, phase: Phase, own: Collection[int]) -> None:
        for number, frame in _FRAMES().items():
            place = None if number in own else self._place(frame)
            if place is None:
                continue
            self._hits += 1
            self._hits_of_phase += 1
            is_work = (
                self._hits_of_phase >= _HITS_OF_PHASE or self._hits >= _HITS_OF_TRIAL
            )
            if is_work and len(self.found) < _MAX_FOUND:
                self._note(place, phase)
            return

    def _note(self, place: str, phase: Phase) -> None:
        text = f"code of the submission ran during {phase.value}: {place}"
        if text not in self.found:
            self.found.append(text)

    def _place(self, frame: FrameType | None) -> str | None:
        """The innermost function of the submission on a thread's stack."""
        while frame is not None:
            # Code that was made from text names no file, or any.
            home = frame.f_globals.get("__file__")
            if self._is_own(frame.f_code.co_filename) or self._is_own(home):
                code = frame.f_code
                return f"{code.co_qualname} ({os.path.basename(code.co_filename)})"
            frame = frame.f_back
        return None

    def _is_own(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        known = self._is_submissions.get(name)
        if known is None:
            known = os.path.abspath(name).startswith(self._prefixes)
            self._is_submissions[name] = known
        return known


def _spellings(folder: Path) -> Iterator[str]:
    """A folder as given and with its links resolved."""
    yield os.path.abspath(folder)
    yield os.path.realpath(folder)


class WorkersTime:
    """CPU time of workers that are left waiting while the clock stands; a `PhaseListener`.

    Threads that exist when it is made are the harness's.
    """

    def __init__(
        self,
        children: Callable[[], Collection[int]],
        harness_threads: Callable[[], Collection[threading.Thread]] = tuple,
    ) -> None:
        """`children`: numbers of processes that may be left waiting."""
        self.found: list[str] = []
        self._known = {thread.native_id for thread in threading.enumerate()}
        self.harness_threads = harness_threads
        self._children = children
        self._before: Mapping[str, float] = {}
        self._began = 0.0

    def begin(self, phase: Phase) -> None:
        """See `PhaseListener`."""
        if phase in _WATCHED:
            self._before, self._began = dict(self._seconds()), _MONOTONIC()

    def end(self, phase: Phase) -> None:
        """See `PhaseListener`."""
        if phase not in _WATCHED:
            return
        allowed = _CPU_SECONDS + _CPU_SHARE * (_MONOTONIC() - self._began)
        for name, seconds in self._seconds():
            spent = seconds - self._before.get(name, seconds)
            if spent > allowed and len(self.found) < _MAX_FOUND:
                self.found.append(
                    f"{name} computed for {spent:.2f} s during {phase.value}"
                )

    def _seconds(self) -> Iterator[tuple[str, float]]:
        harness = {thread.native_id for thread in self.harness_threads()}
        for thread in threading.enumerate():
            number = thread.native_id
            if number in self._known or number in harness or number is None:
                continue
            seconds = _thread_seconds(number)
            if seconds is not None:
                yield f"thread {thread.name!r} ({number})", seconds
        for child in self._children():
            try:
                times = psutil.Process(child).cpu_times()
            except psutil.Error:
                continue
            yield f"child process {child}", times.user + times.system


def _thread_seconds(number: int) -> float | None:
    """CPU seconds of a thread of this process; None where nobody tells."""
    try:
        with open(f"/proc/self/task/{number}/schedstat", "rb") as file:
            return int(file.read().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return None
