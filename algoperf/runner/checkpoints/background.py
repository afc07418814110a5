"""Writes checkpoints in the background, one at a time, while the trial goes on."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class BackgroundWriter:
    """Runs one job at a time; until it is started, in the caller's thread.

    A job has arrays of its own on the host. Since a new job waits for the one before, there
    are never two such copies of a state.
    """

    def __init__(self) -> None:
        self.threads: tuple[threading.Thread, ...] = ()  # its own, once it is started
        self._cpu_seconds = 0.0
        self._pool: ThreadPoolExecutor | None = None
        self._pending: Future[None] | None = None

    def start(self) -> None:
        """From now on jobs run in a thread, which exists when this returns."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="algoperf-checkpoints")
        self.threads = (self._pool.submit(threading.current_thread).result(),)

    def run(self, job: Callable[[], object]) -> None:
        """Runs a job after the one before has ended; raises what that one raised."""
        self.wait()
        if self._pool is None:
            job()
        else:
            self._pending = self._pool.submit(self._run, job)

    def wait(self) -> None:
        """Returns when nothing is left to write; raises what the last job raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def take_cpu_seconds(self) -> float:
        """Of its thread, for jobs that have ended; each is counted once."""
        seconds, self._cpu_seconds = self._cpu_seconds, 0.0
        return seconds

    def close(self) -> None:
        """Ends the thread after its job, whatever became of that."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def _run(self, job: Callable[[], object]) -> None:
        before = time.thread_time()
        try:
            job()
        finally:
            self._cpu_seconds += time.thread_time() - before
