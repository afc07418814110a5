"""Errors of the environment are one sentence; faults of the harness keep their traceback."""

import errno
import io
import os
import subprocess
import sys

import pytest

from algoperf import console
from algoperf.errors import BadSettings

FULL = "/dev/full"
needs_full = pytest.mark.skipif(
    not os.path.exists(FULL), reason="there is no /dev/full"
)


def failing(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (BadSettings("Not so."), 2, "Not so."),
        (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 999), 2, "999 char"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x: Permission"),
        (OSError(errno.ELOOP, "Too many levels", b"/x"), 2, "/x: Too many levels"),
        (OSError(errno.ENOSPC, "No space left"), 1, "could not be written: No space"),
        (ConnectionResetError(errno.ECONNRESET, "Reset by peer"), 1, "Reset by peer."),
        (RuntimeError("Symlink loop from '/x'"), 2, "'/x': links lead in a circle"),
        (RecursionError("maximum"), 2, "nested too deeply"),
        (MemoryError(), 1, "memory"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "no"), 2, "cannot be encoded"),
    ],
)
def test_errors_are_one_sentence_with_a_status(error, status, said, capsys):
    assert console.run("program", failing(error)) == status
    err = capsys.readouterr().err
    assert err.startswith("program: error: ") and said in err
    assert err.count("\n") == 1


def test_a_current_directory_that_is_gone_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert console.run("program", lambda: len(os.getcwd())) == 2
    assert "current directory no longer exists" in capsys.readouterr().err


def test_an_error_without_a_text_has_been_told_already(capsys):
    assert console.run("program", failing(BadSettings(""))) == 2
    assert capsys.readouterr().err == ""


def test_messages_can_be_reworded(capsys):
    console.run("program", failing(BadSettings("a b")), lambda text: text.upper())
    assert capsys.readouterr().err == "program: error: A B\n"


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("of its own")])
def test_faults_of_the_harness_are_raised(error):
    with pytest.raises(type(error)):
        console.run("program", failing(error))


def test_the_status_of_the_work_is_returned():
    assert console.run("program", lambda: 7) == 7


def algoperf(
    words: str, redirection: str, **environment
) -> subprocess.CompletedProcess:
    return subprocess.run(
        f'exec "{sys.executable}" -m algoperf.cli {words} {redirection}',
        shell=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@needs_full
@pytest.mark.parametrize(
    "words", ["list", "--help", "list --help", "--version", "draw-held-out --seed 7"]
)
def test_a_full_output_is_told(words):
    result = algoperf(words, f"> {FULL}")
    assert result.returncode == 1
    assert result.stderr == (
        "algoperf: error: the output could not be written: No space left on device.\n"
    )


@needs_full
def test_an_error_that_cannot_be_shown_keeps_its_status():
    assert algoperf("score /no/such/folder", f"2> {FULL}").returncode == 2


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_problem(redirection):
    result = algoperf("list", redirection)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_reader_that_has_read_enough_is_no_error():
    result = algoperf("list --variants", "| head -1")
    assert result.stderr == ""


class Stream(io.StringIO):
    """A standard output whose buffer cannot be written."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def flush(self):
        raise self.error


@pytest.mark.parametrize(
    ("error", "of_the_work", "status"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0, 0),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, 1),
        (OSError(errno.ENOSPC, "No space left"), 0, 1),
        (OSError(errno.ENOSPC, "No space left"), 2, 2),
    ],
)
def test_what_happens_to_the_output_hides_no_failure(
    error, of_the_work, status, monkeypatch
):
    monkeypatch.setattr(sys, "stdout", Stream(error))
    assert console.run("program", lambda: of_the_work) == status


def test_an_error_is_told_although_the_output_is_full(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Stream(OSError(errno.ENOSPC, "No space left")))
    assert console.run("program", failing(BadSettings("Not so."))) == 2
    assert capsys.readouterr().err == "program: error: Not so.\n"


def test_texts_that_an_output_cannot_encode_are_shown_escaped():
    result = algoperf("score /no/such/\u2026", "2>&1", PYTHONIOENCODING="ascii")
    assert result.returncode == 2 and "\\u2026" in result.stdout
