"""Finds threads and child processes of a submission that live while the clock is stopped."""

import concurrent.futures.thread
import contextlib
import sys
import threading
from collections.abc import Collection, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import psutil

from algoperf.frameworks import FRAMEWORKS
from algoperf.runner.fairness.packages import is_logger_process, is_logger_thread


class StrayWorkers:
    """Compares the threads and children of this process with those before the submission."""

    def __init__(self) -> None:
        self._known = _threads()
        self._process = psutil.Process()
        self._children = {child.pid for child in self._process.children(recursive=True)}
        self.waiting: set[int] = set()  # children that may be left, if they do nothing

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
            if not _helps_to_compile(thread)
            and not _is_idle_worker(thread)
            and not is_logger_thread(thread)
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
            is_helper = _compiles(words)
            if is_ended or is_logger_process(words):
                continue
            if is_known or is_helper:
                self.waiting.add(child.pid)
            else:
                found.append(f"child process {child.pid} ({' '.join(words)[:80]})")
        return found


def _threads() -> set[threading.Thread | int]:
    """Threads that run Python code now; by number if `threading` does not know them."""
    named = {thread.ident: thread for thread in threading.enumerate()}
    return {named.get(number, number) for number in sys._current_frames()}


def _helps_to_compile(thread: threading.Thread | int) -> bool:
    """Whether a thread is one that PyTorch's compiler starts and leaves waiting."""
    tqdm = sys.modules.get("tqdm")
    if tqdm is not None and type(thread) is tqdm.TMonitor:
        return True
    code = getattr(getattr(thread, "_target", None), "__code__", None)
    if code is None:
        return False
    parents = Path(code.co_filename).parents
    return any(place in parents for place in _places("helper_threads"))


def _is_idle_worker(thread: threading.Thread | int) -> bool:
    """Whether a thread waits in a pool's loop for work, and there is none; compilers keep some."""
    number = thread.ident if isinstance(thread, threading.Thread) else thread
    frame = sys._current_frames().get(number or 0)
    if frame is None or frame.f_code is not concurrent.futures.thread._worker.__code__:
        return False
    names = frame.f_locals
    return names.get("work_item") is None and names["work_queue"].empty()


def _idle_helpers() -> set[int | None]:
    """Processes of `multiprocessing` that only wait; a fork server's workers are not among them."""
    return {
        forkserver._forkserver._forkserver_pid,  # type: ignore[attr-defined]
        resource_tracker._resource_tracker._pid,  # type: ignore[attr-defined]
    }


def _compiles(command: list[str]) -> bool:
    """Whether a process is a compile worker that PyTorch has started."""
    return any(str(place) in command[1:2] for place in _places("helper_program"))


def _places(what: str) -> Iterator[Path]:
    """Files or folders of the loaded frameworks that a field of `Code` names."""
    for framework in FRAMEWORKS.values():
        package, below = getattr(framework.code, what) or ("", "")
        path = getattr(sys.modules.get(package), "__file__", None)
        if path is not None:
            yield Path(path).parent / below
