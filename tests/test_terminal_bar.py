"""The bar of long preparations: one line, and nothing left of it."""

import io
import re

from algoperf.download import ProgressPrinter


class Terminal(io.StringIO):
    def isatty(self):
        return True


class FakeTime:
    seconds = 0.0

    def __call__(self):
        self.seconds += 1.0
        return self.seconds


def shown(text: str) -> list[str]:
    return [line for line in re.sub(r"\x1b\[[0-9;?]*\w", "", text).splitlines() if line]


def test_a_terminal_gets_a_bar_and_then_a_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    progress = ProgressPrinter(terminal, FakeTime())
    for done in (1, 5, 10):
        progress("reading", done, 10)
    lines = shown(terminal.getvalue())
    assert lines[0].startswith("reading ") and "10 %" in lines[0]
    assert lines[-1] == "reading: 100 %" and max(map(len, lines)) <= 60
    assert terminal.getvalue().count("\x1b[J") == 2  # every bar was removed
    assert "\x1b[?25l" not in terminal.getvalue()  # the cursor is never hidden


def test_elsewhere_there_are_lines_alone():
    out = io.StringIO()
    progress = ProgressPrinter(out, FakeTime())
    for done in (1, 10):
        progress("reading", done, 10)
    assert out.getvalue() == "reading: 10 %\nreading: 100 %\n"
