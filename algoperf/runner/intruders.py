"""Finds threads and child processes of a submission that live while the clock is stopped."""

import contextlib
import sys
import threading
from collections.abc import Collection, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import psutil


class Intruders:
    """Compares the threads and children of this process with those before the submission."""

    def __init__(self) -> None:
        self._known = _threads()
        self._process = psutil.Process()
        self._children = {child.pid for child in self._process.children(recursive=True)}

    @contextlib.contextmanager
    def harness(self) -> Iterator[None]:
        """What is started inside is the harness's own, such as a writer of observers."""
        before = _threads()
        yield
        self._known |= _threads() - before

    def find(self, expected: Collection[threading.Thread] = ()) -> list[str]:
        """What is alive now and was not at the start, one description each.

        `expected`: threads of the harness, such as those of its input queue.
        """
        new = _threads() - self._known - set(expected)
        threads = sorted(
            f"thread {thread.name!r}"
            if isinstance(thread, threading.Thread)
            else f"thread number {thread}"
            for thread in new
        )
        return threads + self._new_children()

    def _new_children(self) -> list[str]:
        found = []
        helpers = _idle_helpers()
        for child in self._process.children(recursive=True):
            try:
                words = child.cmdline()
                is_ended = child.status() == psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                continue
            is_known = child.pid in self._children or child.pid in helpers
            if not is_known and not is_ended and not _compiles(words):
                found.append(f"child process {child.pid} ({' '.join(words)[:80]})")
        return found


def _threads() -> set[threading.Thread | int]:
    """Threads that run Python code now; by number if `threading` does not know them."""
    named = {thread.ident: thread for thread in threading.enumerate()}
    return {named.get(number, number) for number in sys._current_frames()}


def _idle_helpers() -> set[int | None]:
    """Processes of `multiprocessing` that only wait; a fork server's workers are not among them."""
    return {
        forkserver._forkserver._forkserver_pid,  # type: ignore[attr-defined]
        resource_tracker._resource_tracker._pid,  # type: ignore[attr-defined]
    }


def _compiles(command: list[str]) -> bool:
    """Whether a process is a compile worker that PyTorch has started."""
    torch = sys.modules.get("torch")
    if torch is None or torch.__file__ is None:
        return False
    worker = (
        Path(torch.__file__).parent / "_inductor" / "compile_worker" / "__main__.py"
    )
    return str(worker) in command[1:2]
