"""Times of a trial that its own process cannot change: the launcher stamps what it is told.

The trial sends a line of JSON through a pipe whenever its clock changes to or from a phase that
is not charged, and for every evaluation's row. The launcher, which runs no code of a submission,
stamps each line with its own monotonic clock, keeps the stamps in the logs, and compares them at
the end with what the trial's clock says and with the rows in its file.
"""

import contextlib
import dataclasses
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf.evaluations import EvaluationRow
from algoperf.runner.clock import Clock, Phase

STAMPS_FILE = "stamps_{part}.json"
# By how much two clocks may differ: a share, and seconds.
RELATIVE, ABSOLUTE = 0.01, 0.05
# What the harness itself may take between phases.
_SECONDS_PER_STEP, _SECONDS_PER_EVALUATION = 1e-4, 0.01
_MONOTONIC = time.perf_counter  # taken before a submission is loaded
_READ_BYTES = 65_536
_DUMPS = json.dumps
_WRITE = os.write


class Reporter:
    """The trial's end of the pipe; a `PhaseListener` and an `Observer`."""

    def __init__(self, pipe: Path, clock: Clock) -> None:
        """Opens the pipe and removes its name, so that nobody else finds it."""
        self._clock = clock
        self._pipe = os.open(pipe, os.O_WRONLY)
        self.say("opened", process=os.getpid())
        with contextlib.suppress(OSError):
            pipe.unlink()

    def say(self, kind: str, **content: Any) -> None:
        """Sends one line; silent once the launcher is gone."""
        line = {"kind": kind, "own": self._clock.accounting(), **content}
        with contextlib.suppress(OSError):
            _WRITE(self._pipe, _DUMPS(line).encode() + b"\n")

    def note(self, text: str) -> None:
        """Sends what a child of the trial's process did that it must not."""
        self.say("note", text=text)

    def begin(self, phase: Phase) -> None:
        """See `PhaseListener`."""
        self.say("begin", phase=phase.value)

    def end(self, phase: Phase) -> None:
        """See `PhaseListener`."""
        self.say("end", phase=phase.value)

    def on_step(self, step: int, clock: Clock) -> None:
        """Nothing: steps are not reported one by one."""

    def on_evaluation(self, row: EvaluationRow) -> None:
        """Sends an evaluation's row."""
        self.say("row", row=row.to_json())

    def close(self) -> None:
        """Nothing: the pipe is open until the process ends."""


@dataclass(frozen=True)
class Stamp:
    """What was said, and when it was heard."""

    at: float  # seconds since the launch, on the launcher's clock
    kind: str
    own: Mapping[str, float]  # the trial's own accounting: see `Clock.accounting`
    phase: str | None = None
    row: Mapping[str, float] | None = None
    # Seconds until then for which the trial's main thread had waited for a processor.
    waited: float = 0.0
    process: int | None = None  # the trial's, said once
    text: str | None = None  # of a note: what a child of the trial's process did

    def to_json(self) -> dict[str, Any]:
        """As JSON object."""
        content = dataclasses.asdict(self)
        return {key: value for key, value in content.items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Stamp":
        """The inverse of `to_json`; TypeError or ValueError for what is none."""
        names = {f.name for f in dataclasses.fields(cls)}
        known = {key: value for key, value in content.items() if key in names}
        own = known.pop("own")
        row = known.pop("row", None)
        return cls(
            own={str(k): float(v) for k, v in own.items()},
            row=None if row is None else {str(k): float(v) for k, v in row.items()},
            **known,
        )


class Recorder:
    """The launcher's end: stamps lines as they come, in a thread, until it is closed."""

    def __init__(self, pipe: Path, now: Callable[[], float] = _MONOTONIC) -> None:
        os.mkfifo(pipe)
        self.stamps: list[Stamp] = []
        self.faults: list[str] = []  # lines that were none of ours
        self._now, self._launched = now, now()
        self._process: int | None = None
        # Not blocking, so that a trial that never opens the pipe is not waited for. Its own
        # end keeps the pipe open between the trial's writes.
        self._pipe = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self._own_end = os.open(pipe, os.O_WRONLY)
        os.set_blocking(self._pipe, True)
        self._thread = threading.Thread(
            target=self._read, name="algoperf-stamps", daemon=True
        )
        self._thread.start()

    def _read(self) -> None:
        own = f"/proc/self/task/{threading.get_native_id()}"
        waited = _waited_seconds(own)
        with os.fdopen(self._pipe, "rb", buffering=0) as pipe:
            left = b""
            while True:
                left += pipe.read(_READ_BYTES)
                heard, before = self._now() - self._launched, waited
                waited = _waited_seconds(own)
                # On a busy machine this thread wakes late: by what the kernel says.
                at = heard - max(0.0, waited - before)
                *lines, left = left.split(b"\n")
                for line in lines:
                    if line == b"close":
                        return
                    self._take(at, line)

    def _take(self, at: float, line: bytes) -> None:
        try:
            content = {**json.loads(line), "at": at}
            self._process = content.get("process", self._process)
            content["waited"] = _waited_seconds(f"/proc/{self._process}")
            self.stamps.append(Stamp.from_json(content))
        except (ValueError, TypeError, KeyError, AttributeError):
            self.faults.append(repr(line[:60]))

    def close(self) -> None:
        """Returns when all that was sent is stamped."""
        os.write(self._own_end, b"close\n")
        self._thread.join()
        os.close(self._own_end)

    def to_json(self) -> dict[str, Any]:
        """What is kept in the logs."""
        return {"stamps": [stamp.to_json() for stamp in self.stamps]}


def _waited_seconds(place: str) -> float:
    """For how long a thread has waited for a processor; 0 where nobody tells.

    `place`: its folder in /proc; of a process, it is the main thread's.
    """
    try:
        with open(f"{place}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


@dataclass
class Account:
    """Seconds by phase as the launcher measured them, and as the trial's clock says."""

    outside: dict[str, float] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    evaluations: int = 0
    allowance: float = 0.0  # submission seconds that a resumed trial may book as set-up
    waited: float = 0.0  # seconds without a processor: gaps of the harness last longer

    def differences(self) -> list[str]:
        """A sentence for each phase in which the two differ too much, to the trial's gain.

        A stamp that is taken late makes one phase longer and the next one shorter: only less
        time on the submission's clock, more in a phase that is not charged, or another total
        than the launcher measured is no accident.
        """
        found = []
        for name in self.outside:
            outside, own = self.outside[name], self.own.get(name, 0.0)
            allowed = ABSOLUTE + RELATIVE * max(outside, own) + self._slack(name)
            allowed += self.waited
            if _gain(name, outside, own) > allowed:
                found.append(
                    f"its clock says {own:.3f} s of {name}, the launcher measured "
                    f"{outside:.3f} s (allowed difference: {allowed:.3f} s)"
                )
        return found

    def _slack(self, name: str) -> float:
        harness = (
            _SECONDS_PER_STEP * self.steps + _SECONDS_PER_EVALUATION * self.evaluations
        )
        if name == Phase.SUBMISSION.value:
            return harness + self.allowance
        return self.allowance if name == Phase.SETUP.value else 0.0


def _gain(phase: str, outside: float, own: float) -> float:
    """By how much the trial's own account is better for it than what was measured."""
    if phase == "total":
        return abs(outside - own)
    return outside - own if phase == Phase.SUBMISSION.value else own - outside


def account_of(stamps: Sequence[Stamp], allowance: float = 0.0) -> Account:
    """What both sides measured between the first and the last stamp.

    What belongs to no phase that is not charged is the submission's.
    """
    first, last = stamps[0], stamps[-1]
    names = [phase.value for phase in Phase]
    outside = dict.fromkeys(names, 0.0)
    begun: dict[str, float] = {}
    for stamp in stamps:
        if stamp.kind == "begin" and stamp.phase in outside:
            begun[stamp.phase] = stamp.at
        elif stamp.kind == "end" and stamp.phase in begun:
            outside[stamp.phase] += stamp.at - begun.pop(stamp.phase)
    for name, at in begun.items():
        outside[name] += last.at - at
    total = last.at - first.at
    outside["submission"] = total - sum(outside.values())
    own = {n: last.own.get(n, 0.0) - first.own.get(n, 0.0) for n in (*names, "total")}
    rows = [stamp.row for stamp in stamps if stamp.row]
    steps = int(rows[-1].get("global_step", 0)) if rows else 0
    waited = last.waited - first.waited
    outside["total"] = total
    return Account(outside, own, steps, len(rows), allowance, waited)


def read_stamps(content: Mapping[str, Any]) -> list[Stamp]:
    """The inverse of `Recorder.to_json`; ValueError for what is none."""
    try:
        return [Stamp.from_json(stamp) for stamp in content["stamps"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no stamps: {error!r}") from None


def part_of_resumed(stamps: Sequence[Stamp]) -> list[Stamp]:
    """From where a resumed trial has taken over the clock of its checkpoint."""
    numbers = [n for n, stamp in enumerate(stamps) if stamp.kind == "resumed"]
    return list(stamps[numbers[0] :]) if numbers else list(stamps)
