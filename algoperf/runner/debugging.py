"""A debugger where a trial has failed: `--pdb`."""

import contextlib
import pdb
import sys

from algoperf import console
from algoperf.runner.outcomes import SubmissionError


def post_mortem(error: BaseException) -> None:
    """Opens the debugger where the error was raised; in a submission, at its own error."""
    cause = error.__cause__ if isinstance(error, SubmissionError) else None
    shown = cause or error
    console.tell(
        f"algoperf: {error}. The debugger stands where it was raised; q ends it."
    )
    debugger = pdb.Pdb(stdin=sys.__stdin__, stdout=sys.__stderr__)
    debugger.reset()
    with contextlib.suppress(SystemExit):
        debugger.interaction(None, shown.__traceback__)
