"""Whose an error is, where it was raised, and its text, whatever was raised."""

import dis
import traceback
from pathlib import Path

MAX_TEXT = 2_000  # characters of an error's text that people are shown


def describe(error: BaseException, limit: int = MAX_TEXT) -> str:
    """`ValueError: text` on one line of printable text; never raises.

    A submission's exception may have a `__str__` that raises, a text of megabytes, or
    characters that cannot be encoded.
    """
    kind = type(error).__name__
    try:
        text = str(error)
    except BaseException as failure:
        text = f"(its text cannot be shown: __str__ raised {type(failure).__name__})"
    if len(text) > limit:
        text = f"{text[:limit]}… ({len(text):,} characters)"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"{kind}: {text}" if text else kind


def line_in(error: BaseException, path: Path) -> str:
    """` (submission.py, line 12)`: the deepest line of the submission's folder."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if path.parent in Path(frame.filename).parents]
    if not own:
        return ""
    name = Path(own[-1].filename).relative_to(path.parent)
    return f" ({name}, line {own[-1].lineno})"


def was_raised_in(folder: Path, error: BaseException) -> bool:
    """Whether a `raise` in a file below `folder` made the error, not a function it called."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    if frames is None:
        return False
    code = frames.tb_frame.f_code
    is_raise = code.co_code[frames.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return is_raise and folder in Path(code.co_filename).parents


def is_interrupt(error: BaseException, folder: Path) -> bool:
    """Whether somebody at the keyboard wants to stop, not a `raise` in the submission."""
    return isinstance(error, KeyboardInterrupt) and not was_raised_in(folder, error)
