import argparse

import pytest

from algoperf.commands import arguments


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (arguments.whole_number, "-3", -3),
        (arguments.whole_number, "1_000", 1_000),
        (arguments.number, "1e-3", 1e-3),
        (arguments.count, "1", 1),
        (arguments.count, "1000000", 1_000_000),
    ],
)
def test_numbers_are_read(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (arguments.whole_number, ""),
        (arguments.whole_number, "x"),
        (arguments.whole_number, "1.0"),
        (arguments.whole_number, "9" * 21),
        (arguments.whole_number, "\uff11"),  # a full-width 1
        (arguments.number, "nan"),
        (arguments.number, "-inf"),
        (arguments.number, "1e400"),
        (arguments.number, ""),
        (arguments.count, "0"),
        (arguments.count, "-1"),
        (arguments.count, "1000001"),
        (arguments.path, ""),
        (arguments.path, "~no-such-user"),
    ],
)
def test_what_is_no_number_or_path_is_refused(kind, text):
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)


def test_a_dash_is_the_standard_output(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not arguments.write_output(arguments.path("-"), "text\n")
    assert capsys.readouterr().out == "text\n"
    assert list(tmp_path.iterdir()) == []


def test_other_outputs_are_files(tmp_path, capsys):
    assert arguments.write_output(tmp_path / "new" / "file", b"text\n")
    assert (tmp_path / "new" / "file").read_text() == "text\n"
    assert capsys.readouterr().out == ""
