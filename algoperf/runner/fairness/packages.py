"""What installed packages leave in a process when they are imported, told from a submission's."""

import os
import sys
import sysconfig
import threading
from collections.abc import Collection
from types import CodeType, FunctionType, ModuleType

from algoperf.loading.places import is_submissions

_FOLDERS = ("site-packages", "dist-packages")
# Packages that write a submission's logs have helpers that wait: for records, or to finish.
_LOGGERS = ("wandb", "opentelemetry")


def is_function_of_package(value: object) -> bool:
    """Whether a value is a plain function that an installed package or Python defines.

    One with a closure or defaults, or bound to an object, could call a submission's code.
    """
    if not isinstance(value, FunctionType):
        return False
    if value.__closure__ or value.__defaults__ or value.__kwdefaults__:
        return False
    module = sys.modules.get(value.__module__)
    return (
        isinstance(module, ModuleType)
        and not is_submissions(module)
        and value.__globals__ is vars(module)
        and _is_in_package(value.__code__, _package_folders())
    )


def is_installed_file(path: str | None) -> bool:
    """Whether a module's file belongs to Python or an installed package; None: built in."""
    folders = _package_folders()
    return path is None or any(path.startswith(folder + os.sep) for folder in folders)


def _package_folders() -> list[str]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    installed = [sysconfig.get_path(name) for name in names]
    return installed + [p for p in sys.path if os.path.basename(p) in _FOLDERS]


def _is_in_package(code: CodeType, folders: Collection[str]) -> bool:
    return any(code.co_filename.startswith(folder + os.sep) for folder in folders)


def is_logger_thread(thread: threading.Thread | int) -> bool:
    """Whether a thread was started by a package that logs, and is in no code but its own."""
    target = getattr(getattr(thread, "_target", None), "__code__", None)
    loggers = _folders_of_loggers()
    if target is None or not _is_in_package(target, loggers):
        return False
    known = [sysconfig.get_path("stdlib"), *loggers]
    frame = sys._current_frames().get(getattr(thread, "ident", None) or 0)
    while frame is not None:
        if not _is_in_package(frame.f_code, known) or _is_from_pip(frame.f_code):
            return False
        frame = frame.f_back
    return True


def _is_from_pip(code: CodeType) -> bool:
    """Whether code below the standard library's folder is of a package installed there."""
    is_installed = any(
        f"{os.sep}{name}{os.sep}" in code.co_filename for name in _FOLDERS
    )
    return is_installed and not _is_in_package(code, _folders_of_loggers())


def is_logger_process(command: list[str]) -> bool:
    """Whether a child process is a program that such a package brings along."""
    return bool(command) and command[0].startswith(
        tuple(folder + os.sep for folder in _folders_of_loggers())
    )


def _folders_of_loggers() -> list[str]:
    modules = [sys.modules.get(name) for name in _LOGGERS]
    folders = [
        str(folder)
        for module in modules
        if module is not None and not is_submissions(module)
        for folder in getattr(module, "__path__", ())
    ]
    return [folder for folder in folders if _is_below_packages(folder)]


def _is_below_packages(folder: str) -> bool:
    return any(folder.startswith(base + os.sep) for base in _package_folders())
