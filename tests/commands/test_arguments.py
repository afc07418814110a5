import argparse

import pytest

from algoperf.commands import arguments


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (arguments.whole_number, "-3", -3),
        (arguments.whole_number, "1_000", 1_000),
        (arguments.number, "1e-3", 1e-3),
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
        (arguments.path, ""),
        (arguments.path, "~no-such-user"),
    ],
)
def test_what_is_no_number_or_path_is_refused(kind, text):
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)
