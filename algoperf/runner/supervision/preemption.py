"""SIGTERM, the notice that the machine will be taken away: a trial ends at its next step."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from algoperf import exit_status


class Preempted(SystemExit):
    """Ends this process with the status that says "resume me"."""

    def __init__(self) -> None:
        super().__init__(exit_status.PREEMPTED)


class StopRequest:
    """Whether somebody has asked the trial to stop."""

    def __init__(self) -> None:
        self.is_set = False

    @contextlib.contextmanager
    def listen(
        self, then: Callable[[], None] = lambda: None
    ) -> Iterator["StopRequest"]:
        """Within, SIGTERM sets the request and calls `then`, instead of ending the process.

        Signals can be handled in the main thread alone; elsewhere nothing changes.
        """
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        previous = signal.getsignal(signal.SIGTERM)

        def handle(number: int, frame: FrameType | None) -> None:
            self.is_set = True
            then()
            if callable(previous):
                previous(number, frame)

        signal.signal(signal.SIGTERM, handle)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, previous)
