"""The text of an error that a submission raises, whatever kind of error it is."""

import pytest

from algoperf import submission
from algoperf.errors import BadSubmission
from algoperf.loading.blame import describe


class Mute(Exception):
    def __str__(self):
        raise ValueError("no text")


class Lying(Exception):
    def __str__(self):
        return 7


class Quitting(BaseException):
    def __str__(self):
        raise SystemExit(0)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("x"), "ValueError: x"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "KeyError: 'x'"),
        (Mute(), "Mute: (its text cannot be shown: __str__ raised ValueError)"),
        (Lying(), "Lying: (its text cannot be shown: __str__ raised TypeError)"),
        (Quitting(), "Quitting: (its text cannot be shown: __str__ raised SystemExit)"),
        (ValueError("a\udc80b"), r"ValueError: a\udc80b"),
        (ExceptionGroup("g", [ValueError("x")]), "ExceptionGroup: g (1 sub-exception)"),
    ],
)
def test_an_error_is_described_by_kind_and_text(error, text):
    assert describe(error) == text


def test_a_long_text_is_cut():
    text = describe(ValueError("x" * 50_000_000))
    assert len(text) < 3_000 and text.endswith("… (50,000,000 characters)")


RAISED = {
    "an exit": "raise SystemExit(3)",
    "an exit by function": "import sys; sys.exit('bye')",
    "an interrupt of its own": "raise KeyboardInterrupt",
    "the end of a generator": "raise GeneratorExit",
    "the end of an iterator": "raise StopIteration",
    "a base exception": "class E(BaseException): pass\nraise E('x')",
    "one without text": "class E(Exception):\n    def __str__(self): raise ValueError\nraise E",
    "one with a surrogate": r"raise ValueError('\udcff')",
    "one of several": "raise ExceptionGroup('g', [ValueError('x')])",
    "a cancelled task": "import asyncio\nraise asyncio.CancelledError",
    "an assertion": "assert 1 == 2",
    "a module attribute": "def __getattr__(name): raise KeyError(name)",
    "no memory": "raise MemoryError",
    "deep recursion": "def f(): f()\nf()",
    "a warning": "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('x')",
    "an error in a decorator": "def d(f): raise TypeError('d')\n@d\ndef g(): pass",
    "no such name": "undefined_name",
}


@pytest.mark.parametrize("what", RAISED)
def test_whatever_the_import_raises_is_one_sentence_about_the_submission(
    what, tree, recwarn
):
    import warnings

    with warnings.catch_warnings():
        path = tree({"x/submission.py": RAISED[what] + "\n"}) / "x/submission.py"
        with pytest.raises(BadSubmission) as caught:
            submission.load(path)
    text = str(caught.value)
    assert f"{path} cannot be imported: " in text and "submission.py, line" in text
    text.encode("utf-8")


def test_an_interrupt_at_the_keyboard_is_not_the_submissions(tree):
    code = (
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n"
    )
    path = tree({"x/submission.py": code}) / "x/submission.py"
    with pytest.raises(KeyboardInterrupt):
        submission.load(path)
