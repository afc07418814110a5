"""How a trial ended: whose an error is, the reason in words, and where the time went."""

import contextlib
import dis
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import algoperf
from algoperf import exit_status, spec
from algoperf.errors import AlgoPerfError, BadCheckpoint
from algoperf.loading import published
from algoperf.loading.blame import describe, line_in
from algoperf.loading.source import Source
from algoperf.logs import Outcome, OutcomeRecord

TRACEBACK_FILE = "traceback.txt"
STACKS_FILE = "stacks_{rank}.txt"  # what every thread did when a trial hung
MAX_DATA_WAIT = 0.05  # of the submission's time; more is a caveat
_MAX_TRACEBACK_CHARACTERS = 1_000_000
# How the frameworks call a device without memory: exception types by name, and words that
# JAX has in an error that has no type of its own.
_DEVICE_MEMORY_TYPES = ("OutOfMemoryError",)
_DEVICE_MEMORY_WORDS = ("RESOURCE_EXHAUSTED",)
OUT_OF_MEMORY = "ran out of memory: "  # in the reason of a trial that ended so
_HOST_MEMORY_WORDS = ("DefaultCPUAllocator: can't allocate memory",)
_PACKAGES = {"site-packages", "dist-packages"}
_LIBRARIES = (os.path.dirname(os.__file__), os.path.dirname(algoperf.__file__))


@dataclass(frozen=True)
class Ending:
    """An outcome and the sentence that explains it."""

    outcome: Outcome
    reason: str

    def record(
        self,
        seconds: Mapping[str, float] | None = None,
        shares: Mapping[str, float] | None = None,
        caveats: Sequence[str] = (),
    ) -> OutcomeRecord:
        """What the logs keep of it; `seconds` by phase, the rest as `OutcomeRecord` has it."""
        return OutcomeRecord(
            self.outcome, self.reason, seconds or {}, shares or {}, tuple(caveats)
        )

    @property
    def is_failure(self) -> bool:
        """Whether the command that ran the trial should exit with an error."""
        return self.outcome not in (Outcome.REACHED, Outcome.NOT_REACHED)

    @property
    def exit_status(self) -> int:
        """With which the trial's process exits."""
        if self.outcome is Outcome.PREEMPTED:
            return exit_status.PREEMPTED
        return exit_status.FAILED if self.is_failure else exit_status.OK


class SubmissionError(Exception):
    """Wraps what a submission's function raised, with the function's name."""

    def __init__(self, function: str, step: int, problem: str) -> None:
        super().__init__(f"{function} failed at step {step}: {problem}")


@contextlib.contextmanager
def attribute_errors_to(
    function: str,
    step: int,
    path: Path,
    is_ours: Callable[[BaseException], bool] = lambda error: False,
) -> Iterator[None]:
    """Marks errors that escape a submission's function as the submission's: all kinds of them.

    Left as they are: what `is_ours` knows, such as an error of the input pipeline, which
    surfaces inside `data_selection`; a checkpoint that cannot be written; a host without
    memory; and a real Ctrl-C.
    """
    try:
        yield
    except SubmissionError:
        raise
    except BaseException as error:
        if _is_not_the_submissions(error, function, is_ours):
            raise
        text = f"{_memory_of(error)}{describe(error)}{line_in(error, path)}"
        if isinstance(error, AttributeError | ImportError) and path.is_file():
            text += published.advice(Source(path).outdated()).rstrip(".")
        raise SubmissionError(function, step, text) from error


def _is_not_the_submissions(
    error: BaseException, function: str, is_ours: Callable[[BaseException], bool]
) -> bool:
    if isinstance(error, spec.TrainingCompleteError):
        return function in ("data_selection", "update_params")
    if is_ours(error):
        return True
    is_from_outside = isinstance(
        error, BadCheckpoint | KeyboardInterrupt
    ) or _is_host_memory(error)
    return is_from_outside and not _was_raised_by_submission(error)


def _was_raised_by_submission(error: BaseException) -> bool:
    """Whether a `raise` in code that is no library's made the error, not a call of one."""
    last = _last(error.__traceback__)
    if last is None:
        return False
    code = last.tb_frame.f_code
    is_raise = code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    is_library = code.co_filename.startswith(_LIBRARIES) or _PACKAGES & set(
        Path(code.co_filename).parts
    )
    return is_raise and not is_library


def _last(entry: TracebackType | None) -> TracebackType | None:
    while entry is not None and entry.tb_next is not None:
        entry = entry.tb_next
    return entry


def _is_host_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(
        words in describe(error) for words in _HOST_MEMORY_WORDS
    )


def _memory_of(error: BaseException) -> str:
    """Says first which memory was exhausted, if one was."""
    if _is_host_memory(error):
        return f"the host {OUT_OF_MEMORY}"
    is_device = type(error).__name__ in _DEVICE_MEMORY_TYPES or any(
        words in describe(error) for words in _DEVICE_MEMORY_WORDS
    )
    return f"the device {OUT_OF_MEMORY}" if is_device else ""


def ending_of(error: BaseException) -> Ending:
    """The ending that an error stands for."""
    if isinstance(error, SubmissionError):
        return Ending(Outcome.SUBMISSION_CRASHED, str(error))
    text = str(error) if isinstance(error, AlgoPerfError) else describe(error)
    return Ending(Outcome.INFRASTRUCTURE_CRASHED, f"{_memory_of(error)}{text}")


def traceback_text(error: BaseException) -> str:
    """The whole traceback, of the submission's own error where it is one, cut if it is huge."""
    cause = error.__cause__ if isinstance(error, SubmissionError) else error
    lines = traceback.format_exception(cause or error)
    text = "".join(lines).encode("utf-8", "backslashreplace").decode()
    if len(text) <= _MAX_TRACEBACK_CHARACTERS:
        return text
    half = _MAX_TRACEBACK_CHARACTERS // 2
    omitted = len(text) - 2 * half
    return f"{text[:half]}\n[{omitted} characters left out]\n{text[-half:]}"


def time_shares(
    seconds: Mapping[str, float], data_wait_seconds: float
) -> dict[str, float]:
    """Shares, 0 … 1: of waiting for data in submission time, of the rest in wall time."""
    shares = {"data_wait": _share(data_wait_seconds, seconds.get("submission", 0.0))}
    for phase in ("evaluation", "logging", "checkpoint"):
        shares[phase] = _share(seconds.get(phase, 0.0), seconds.get("total", 0.0))
    return shares


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def caveats(shares: Mapping[str, float], programs: Sequence[str]) -> list[str]:
    """What people should know who compare this trial with others."""
    found = []
    if shares["data_wait"] > MAX_DATA_WAIT:
        found.append(
            f"waited for data in {shares['data_wait']:.1%} of its submission time"
        )
    if programs:
        found.append(f"the submission started programs: {', '.join(programs)}")
    return found
