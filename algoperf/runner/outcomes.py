"""How a trial ended: sorts errors by whose they are, and words the reason."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from algoperf import spec
from algoperf.errors import AlgoPerfError, BadData
from algoperf.logs import Outcome
from algoperf.submission import line_in

TRACEBACK_FILE = "traceback.txt"


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
    the infrastructure's.
    """
    try:
        yield
    except (spec.TrainingCompleteError, BadData, SubmissionError):
        raise
    except Exception as error:
        where = line_in(error, path)
        text = f"{type(error).__name__}: {error}{where}"
        raise SubmissionError(function, step, text) from error


def ending_of(error: Exception) -> Ending:
    """The ending that an error stands for."""
    if isinstance(error, SubmissionError):
        return Ending(Outcome.SUBMISSION_CRASHED, str(error))
    kind = "" if isinstance(error, AlgoPerfError) else f"{type(error).__name__}: "
    return Ending(Outcome.INFRASTRUCTURE_CRASHED, f"{kind}{error}")
