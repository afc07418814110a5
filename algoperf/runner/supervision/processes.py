"""One tree of processes per trial: nothing of it outlives the trial, whoever dies first."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar

import psutil

# Children inherit it, also those that detach themselves from their parent.
_TOKEN = "ALGOPERF_TRIAL_TOKEN"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_LONGEST_WAIT_SECONDS = 5.0
_MOST_GENERATIONS = 5  # of processes that are adopted as their parents end


def adopt_orphans() -> None:
    """From now on, descendants whose parent ends become children of this process.

    Without it (it exists on Linux alone) a process that detaches itself is no longer seen among
    the children of the trial that started it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """Ends all processes that this one has started, directly or not."""
    _kill(psutil.Process().children(recursive=True))


class ProcessTree:
    """A trial's process and everything that it starts.

    environment: all variables that it gets.
    """

    _alive: ClassVar[set[int]] = set()  # processes of trials that this one has launched

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        adopt_orphans()
        self._strangers = {child.pid for child in psutil.Process().children()}
        self._token = uuid.uuid4().hex
        self.process = subprocess.Popen(
            command,
            start_new_session=True,
            env={**environment, _TOKEN: self._token},
        )
        self._alive.add(self.process.pid)

    def notify(self, words: str) -> None:
        """Sends SIGTERM to those whose command line has `words`.

        A launcher such as torchrun would answer it by ending its workers itself.
        """
        for member in self._members():
            with contextlib.suppress(psutil.Error):
                if words in member.cmdline():
                    member.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Ends whatever is left; torchrun's workers have process groups of their own."""
        _kill(self._members())
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._alive.discard(self.process.pid)
        _end_orphans(self._alive | self._strangers)

    def _members(self) -> list[psutil.Process]:
        members = []
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            members = [*first.children(recursive=True), first]
        known = {member.pid for member in members}
        for process in psutil.process_iter():
            if process.pid not in known and _has_token(process, self._token):
                members.append(process)
        return members


def _end_orphans(spared: Collection[int]) -> None:
    """Ends what trials that have ended left behind, whatever environment it gave itself.

    Processes of a trial are in another session than this one, and cannot come back into it. While
    a trial's process lives, what detaches itself is adopted by that; later, by this process.
    """
    own = os.getsid(0) if hasattr(os, "getsid") else None
    if own is None:
        return
    for _ in range(_MOST_GENERATIONS):
        left = [
            child
            for child in psutil.Process().children()
            if child.pid not in spared and _session(child.pid) not in (own, None)
        ]
        if not left:
            return
        for child in left:
            _kill([*child.children(recursive=True), child])
            with contextlib.suppress(psutil.Error, ChildProcessError):
                child.wait(_LONGEST_WAIT_SECONDS)
            with contextlib.suppress(psutil.Error, OSError):
                if child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)


def _session(number: int) -> int | None:
    try:
        return os.getsid(number)
    except OSError:
        return None


def _has_token(process: psutil.Process, token: str) -> bool:
    try:
        environment: dict[str, str] = process.environ()
        return environment.get(_TOKEN) == token
    except (psutil.Error, OSError):  # another user's, or gone
        return False


def _kill(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
