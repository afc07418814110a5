"""How a trial ended: whose an error is, the reason in words, and where the time went."""

import contextlib
import dis
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf import spec
from algoperf.errors import AlgoPerfError, BadData
from algoperf.logs import Outcome
from algoperf.submission import line_in

TRACEBACK_FILE = "traceback.txt"
STACKS_FILE = "stacks_{rank}.txt"  # what every thread did when a trial hung
MAX_DATA_WAIT = 0.05  # of the submission's time; more marks the run
# How the frameworks call a device without memory: exception types by name, and words that
# JAX has in an error that has no type of its own.
_DEVICE_MEMORY_TYPES = ("OutOfMemoryError",)
_DEVICE_MEMORY_WORDS = ("RESOURCE_EXHAUSTED",)
_HOST_MEMORY_WORDS = ("DefaultCPUAllocator: can't allocate memory",)


@dataclass(frozen=True)
class Ending:
    """An outcome and the sentence that explains it."""

    outcome: Outcome
    reason: str

    @property
    def is_failure(self) -> bool:
        """Whether the command that ran the trial should exit with an error."""
        return self.outcome not in (Outcome.REACHED, Outcome.NOT_REACHED)


class SubmissionError(Exception):
    """Wraps what a submission's function raised, with the function's name."""

    def __init__(self, function: str, step: int, problem: str) -> None:
        super().__init__(f"{function} failed at step {step}: {problem}")


@contextlib.contextmanager
def blamed_on(function: str, step: int, path: Path) -> Iterator[None]:
    """Marks errors that escape a submission's function as the submission's.

    Errors of the input pipeline pass as they are: they surface inside `data_selection`, but are
    the infrastructure's. So do those of a host without memory.
    """
    try:
        yield
    except SubmissionError:
        raise
    except (Exception, SystemExit) as error:
        if _is_not_the_submissions(error, function, path):
            raise
        where = line_in(error, path)
        text = f"{_memory_of(error)}{type(error).__name__}: {error}{where}"
        raise SubmissionError(function, step, text) from error


def _is_not_the_submissions(error: BaseException, function: str, path: Path) -> bool:
    if isinstance(error, spec.TrainingCompleteError):
        return function in ("data_selection", "update_params")
    if isinstance(error, BadData):
        return not _was_raised_in(path.parent, error)
    return _is_host_memory(error) and not _was_raised_in(path.parent, error)


def _was_raised_in(folder: Path, error: BaseException) -> bool:
    """Whether a `raise` in a file of `folder` made the error, not a function it called."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return False
    code = traceback.tb_frame.f_code
    is_raise = code.co_code[traceback.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return is_raise and Path(code.co_filename).parent == folder


def _is_host_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in _HOST_MEMORY_WORDS
    )


def _memory_of(error: BaseException) -> str:
    """Says first which memory was exhausted, if one was."""
    if _is_host_memory(error):
        return "the host ran out of memory: "
    is_device = type(error).__name__ in _DEVICE_MEMORY_TYPES or any(
        words in str(error) for words in _DEVICE_MEMORY_WORDS
    )
    return "the device ran out of memory: " if is_device else ""


def ending_of(error: Exception) -> Ending:
    """The ending that an error stands for."""
    if isinstance(error, SubmissionError):
        return Ending(Outcome.SUBMISSION_CRASHED, str(error))
    kind = "" if isinstance(error, AlgoPerfError) else f"{type(error).__name__}: "
    return Ending(Outcome.INFRASTRUCTURE_CRASHED, f"{_memory_of(error)}{kind}{error}")


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


def marks_of(shares: Mapping[str, float], programs: Sequence[str]) -> list[str]:
    """What people should know who compare this trial with others."""
    marks = []
    if shares["data_wait"] > MAX_DATA_WAIT:
        marks.append(
            f"waited for data in {shares['data_wait']:.1%} of its submission time"
        )
    if programs:
        marks.append(f"the submission started programs: {', '.join(programs)}")
    return marks
