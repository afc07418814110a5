"""Notes what a submission's code does that it may not: by the interpreter's audit events.

An event counts while the submission's clock runs, in any thread but the harness's own. Native
code that opens files or sockets itself makes no events; reviewers look for that.
"""

import os
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

_MAX_NOTES = 20
_COMPILERS = ("torch._inductor", "torch._dynamo", "triton", "jax", "jaxlib")
_WRITES = {  # events whose first arguments are paths: how many
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.truncate": 1,
    "os.mkdir": 1,
    "shutil.rmtree": 1,
    "os.listdir": 1,
    "os.scandir": 1,
}


class AuditHook:
    """Files of the data or the logs that were touched, and connections that were opened."""

    def __init__(
        self,
        is_submission: Callable[[], bool],
        *,
        data: Collection[Path],
        logs: Collection[Path],
        submission: Path,
    ) -> None:
        """`is_submission`: whether its clock runs; `submission`: its folder, which is free."""
        self.found: list[str] = []
        self.started: list[str] = []  # programs: not forbidden, but shown to reviewers
        self.harness_threads: Callable[[], Collection[threading.Thread]] = tuple
        self._is_submission = is_submission
        own = os.path.realpath(submission)
        self._folders = [
            (_prefix(path), what)
            for paths, what in ((data, "the benchmark's data"), (logs, "the logs"))
            for path in paths
            if not (own + os.sep).startswith(_prefix(path))
        ]
        self._is_on = False

    def __enter__(self) -> "AuditHook":
        self._is_on = True
        # Audit hooks cannot be removed; after the trial this one does nothing.
        sys.addaudithook(self._hook)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on or event not in _EVENTS or not self._is_submission():
            return
        if threading.get_ident() in {t.ident for t in self.harness_threads()}:
            return
        _EVENTS[event](self, event, arguments)

    def _note(self, text: str) -> None:
        if text not in self.found and len(self.found) < _MAX_NOTES:
            self.found.append(text)

    def _touch(self, event: str, arguments: tuple[Any, ...]) -> None:
        for path in arguments[: _WRITES.get(event, 1)]:
            if not isinstance(path, str | bytes | os.PathLike):
                continue  # a file descriptor, whose opening was seen
            real = os.path.realpath(os.fsdecode(path))
            for prefix, what in self._folders:
                is_code = real.endswith((".py", ".pyc"))
                if (real + os.sep).startswith(prefix) and not is_code:
                    self._note(f"the submission touched a file of {what}: {real}")

    def _connect(self, event: str, arguments: tuple[Any, ...]) -> None:
        address = arguments[1] if event == "socket.connect" else arguments[0]
        if isinstance(address, str | bytes) and event == "socket.connect":
            return  # a local socket of the framework's own helpers
        self._note(f"the submission used the network ({event} {address!r})")

    def _start(self, event: str, arguments: tuple[Any, ...]) -> None:
        if _is_called_by(_COMPILERS):
            return
        program = os.fsdecode(arguments[0]) if arguments[0] else "?"
        if program not in self.started and len(self.started) < _MAX_NOTES:
            self.started.append(program)


_EVENTS: dict[str, Callable[[AuditHook, str, tuple[Any, ...]], None]] = {
    "open": AuditHook._touch,
    **dict.fromkeys(_WRITES, AuditHook._touch),
    "socket.connect": AuditHook._connect,
    "socket.getaddrinfo": AuditHook._connect,
    "subprocess.Popen": AuditHook._start,
}


def _is_called_by(packages: Collection[str]) -> bool:
    """Whether a function of one of the packages is among the callers."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if any(name == p or name.startswith(f"{p}.") for p in packages):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _prefix(path: Path) -> str:
    return os.path.realpath(path) + os.sep
