"""Finds threads and child processes of a submission that live while the clock is stopped."""

import threading

import psutil

# Helpers that frameworks start and that only wait for work: not the submission's computation.
_IDLE_HELPERS = (
    "multiprocessing.resource_tracker",
    "multiprocessing.forkserver",
    "torch/_inductor/compile_worker",
)
_HARNESS_THREADS = "algoperf-"


class Intruders:
    """Compares the threads and children of this process with those before the submission."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._process = psutil.Process()
        self._children = {child.pid for child in self._process.children(recursive=True)}

    def find(self) -> list[str]:
        """What is alive now and was not at the start, one description each."""
        threads = [
            f"thread {thread.name!r}"
            for thread in threading.enumerate()
            if thread not in self._threads
            and not thread.name.startswith(_HARNESS_THREADS)
            and not isinstance(thread, threading._DummyThread)
        ]
        return threads + self._new_children()

    def _new_children(self) -> list[str]:
        found = []
        for child in self._process.children(recursive=True):
            try:
                command = " ".join(child.cmdline())
                is_ended = child.status() == psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                continue
            is_known = child.pid in self._children or any(
                helper in command for helper in _IDLE_HELPERS
            )
            if not is_known and not is_ended:
                found.append(f"child process {child.pid} ({command[:80]})")
        return found
