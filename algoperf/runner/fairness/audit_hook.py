"""Notes what a submission's code does that it may not: by the interpreter's audit events.

An event counts while the submission's clock runs, in any thread but the harness's own. Native
code that opens files or sockets itself makes no events; reviewers look for that.
"""

import contextlib
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from algoperf.frameworks import code_of_all

_MAX_NOTES = 20
_CLOCK_STEP_SECONDS = 1.0  # of file systems
_COMPILERS = code_of_all("compilers")
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
    "os.chmod": 1,
    "os.utime": 1,
    "os.setxattr": 1,
    "os.chdir": 1,
}
_BY_DESCRIPTOR = {"os.listdir", "os.scandir", "os.truncate", "os.chmod", "os.utime"}
_NETWORK = (
    "socket.connect",
    "socket.bind",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
)
_WITHOUT_SOCKET = {"socket.getaddrinfo", "socket.gethostbyname"}
_HELPERS = ("multiprocessing", "wandb", *code_of_all("packages"))
_PROGRAMS = (
    "subprocess.Popen",
    "os.system",
    "os.posix_spawn",
    "os.spawn",
    "os.exec",
    "os.startfile",
)
# Functions that do unseen what Python would tell of.
_OF_THE_SYSTEM = {
    *("open", "open64", "openat", "fopen", "creat", "system", "popen", "syscall"),
    *("socket", "connect", "sendto", "sendmsg", "bind", "listen", "pthread_create"),
    *("fork", "vfork", "clone", "execv", "execve", "execvp", "posix_spawn", "ptrace"),
}
_LIBRARIES = ("numpy", "numba", "psutil", "wandb", *code_of_all("packages"))
# Programs that reach what lies below a folder that they are given.
_COPIERS = {"cp", "tar", "rsync", "find", "mv", "ln", "zip", "scp", "grep", "dd", "du"}


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
        # A forked child has the hook too, but its notes are seen by nobody.
        self.tell_from_child: Callable[[str], None] = lambda text: None
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
        self._successor: AuditHook | None = None  # of a later trial in this process
        self._looking = threading.local()  # looking makes events too
        self._began = time.time() - _CLOCK_STEP_SECONDS
        self._process = os.getpid()

    def __enter__(self) -> "AuditHook":
        self._is_on = True
        _install(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_on = False

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_on and self._successor is not None:
            self._successor._hook(event, arguments)
        if not self._is_on or event not in _EVENTS or not self._is_submission():
            return
        if threading.get_ident() in {t.ident for t in self.harness_threads()}:
            return
        if getattr(self._looking, "is_on", False):
            return
        self._looking.is_on = True
        try:
            _EVENTS[event](self, event, arguments)
        finally:
            self._looking.is_on = False

    def _note(self, text: str) -> None:
        if os.getpid() != self._process:
            self.tell_from_child(text)
        if text not in self.found and len(self.found) < _MAX_NOTES:
            self.found.append(text)

    def _touch(self, event: str, arguments: tuple[Any, ...]) -> None:
        for path in arguments[: _WRITES.get(event, 1)]:
            if isinstance(path, int) and not isinstance(path, bool):
                if event not in _BY_DESCRIPTOR:
                    continue  # its opening was seen
                path = f"/proc/self/fd/{path}"
            if isinstance(path, str | bytes | os.PathLike):
                for real in _meanings(os.fsdecode(path)):
                    self._look_at(real)

    def _look_at(self, real: str) -> None:
        is_code = real.endswith((".py", ".pyc"))
        for prefix, what in self._folders:
            if (real + os.sep).startswith(prefix) and not is_code:
                self._note(f"the submission touched a file of {what}: {real}")

    def _connect(self, event: str, arguments: tuple[Any, ...]) -> None:
        address = arguments[0] if event in _WITHOUT_SOCKET else arguments[1]
        if isinstance(address, str | bytes) and event not in _WITHOUT_SOCKET:
            # The frameworks' own helpers talk through sockets that this trial has made.
            if self._is_of_this_trial(address) or _is_called_by(_HELPERS):
                return
        elif event == "socket.bind" and _is_called_by(_HELPERS):
            return
        self._note(f"the submission used the network ({event} {address!r})")

    def _is_of_this_trial(self, address: str | bytes) -> bool:
        path = os.fsdecode(address)
        try:
            return bool(path) and os.stat(path).st_ctime >= self._began
        except (OSError, ValueError):
            return not path or not path.startswith("\0")

    def _start(self, event: str, arguments: tuple[Any, ...]) -> None:
        if _is_called_by(_COMPILERS):
            return
        words = _words(event, arguments)
        program = words[0] if words else "?"
        for word in words:
            self._look_at_word(word, os.path.basename(program))
        if program not in self.started and len(self.started) < _MAX_NOTES:
            self.started.append(program)

    def _look_at_word(self, word: str, program: str) -> None:
        """A word of a command line that names what a submission must not touch."""
        real = os.path.realpath(os.path.expanduser(os.path.expandvars(word)))
        is_above = program in _COPIERS and any(
            prefix.startswith(real.rstrip(os.sep) + os.sep)
            for prefix, _ in self._folders
        )
        for prefix, what in self._folders:
            if (real + os.sep).startswith(prefix) or prefix.rstrip(os.sep) in word:
                self._note(
                    f"the submission handed a file of {what} to {program}: {real}"
                )
            elif is_above and os.sep in word:
                self._note(
                    f"the submission handed {real}, which holds {what}, to {program}"
                )

    def _look_up(self, event: str, arguments: tuple[Any, ...]) -> None:
        name = arguments[1]
        text = name.decode() if isinstance(name, bytes) else str(name)
        if text in _OF_THE_SYSTEM and not _is_called_by(_LIBRARIES):
            self._note(f"the submission called {text} of the system's library")

    def _add_hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        self._note("the submission added an audit hook")


def _meanings(path: str) -> Iterator[str]:
    """Files that a path may name: relative ones also below folders that are open."""
    yield os.path.realpath(path)
    if os.path.isabs(path):
        return
    # `dir_fd` is not among the arguments of the event.
    with contextlib.suppress(OSError):
        for descriptor in os.scandir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                folder = os.readlink(descriptor.path)
                if os.path.isdir(folder):
                    yield os.path.realpath(os.path.join(folder, path))


def _words(event: str, arguments: tuple[Any, ...]) -> list[str]:
    """The words of a command; of a shell's text, as a shell would part them."""
    if event == "os.system":
        given: list[Any] = [arguments[0]]
    elif event in ("subprocess.Popen", "os.posix_spawn", "os.exec"):
        command = arguments[1]
        listed = list(command) if isinstance(command, list | tuple) else [command]
        given = [arguments[0], *listed[1:]] if arguments[0] else listed
    elif event == "os.spawn":
        given = [arguments[1], *list(arguments[2])[1:]]
    else:
        given = list(arguments[:1])
    texts = [os.fsdecode(a) for a in given if isinstance(a, str | bytes | os.PathLike)]
    words = []
    for text in texts:
        try:
            words += shlex.split(text) if " " in text else [text]
        except ValueError:  # an open quotation
            words += text.split()
    return [part for word in words for part in (word, *word.split("=")[1:])]


def _make_install() -> Callable[[AuditHook], None]:
    first: AuditHook | None = None

    def install(hook: AuditHook) -> None:
        """Lets it see all events from now on.

        Hooks cannot be removed, and each is called for millions of events. So a process has
        one, that of its first trial, which hands events on to the trial of now.
        """
        nonlocal first
        if first is None:
            first = hook
            sys.addaudithook(hook._hook)
        elif first is not hook:
            first._successor = hook

    return install


_install = _make_install()
_EVENTS: dict[str, Callable[[AuditHook, str, tuple[Any, ...]], None]] = {
    "open": AuditHook._touch,
    **dict.fromkeys(_WRITES, AuditHook._touch),
    **dict.fromkeys(_NETWORK, AuditHook._connect),
    **dict.fromkeys(_PROGRAMS, AuditHook._start),
    "sys.addaudithook": AuditHook._add_hook,
    "ctypes.dlsym": AuditHook._look_up,
    "sqlite3.connect": AuditHook._touch,
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
