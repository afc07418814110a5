"""When quantities are measured, and what is no schedule."""

import pytest

from algoperf.errors import BadSettings
from algoperf.instruments.schedules import Linear, Logarithmic, parse


def steps(schedule, until):
    return [step for step in range(until) if schedule(step)]


def test_a_linear_schedule_has_an_interval_and_an_offset():
    assert steps(Linear(), 4) == [0, 1, 2, 3]
    assert steps(Linear(3), 8) == [0, 3, 6]
    assert steps(Linear(3, offset=2), 10) == [2, 5, 8]


def test_a_logarithmic_schedule_truncates_powers_and_begins_with_step_0():
    assert steps(Logarithmic(0, 2, steps=5), 200) == [0, 1, 3, 10, 31, 100]
    assert steps(Logarithmic(0, 4, steps=5, base=2), 40) == [0, 1, 2, 4, 8, 16]


def test_schedules_are_parsed():
    assert parse("10") == Linear(10)
    assert steps(parse("log:0,2,5"), 200) == [0, 1, 3, 10, 31, 100]
    assert steps(parse("log:0,4,5,2"), 40) == [0, 1, 2, 4, 8, 16]
    default = steps(parse("log:0,3"), 2_000)
    assert default[:4] == [0, 1, 2, 3] and default[-1] == 1_000


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "-1", "1.5", "ten", "log", "log:", "log:1", "log:a,b", "lin:0,1"),
        *("log:3,1", "log:-1,1", "log:0,nan", "log:0,inf", "log:0,99", "log:0,1,0"),
        *("log:0,1,5,1", "log:0,1,5,0.5", "log:0,1,5,10,1", "log:0,1,99999999", "²"),
    ],
)
def test_what_is_no_schedule_is_refused_with_an_example(text):
    with pytest.raises(BadSettings, match="log:0,5,200"):
        parse(text)


def test_schedules_say_what_they_do():
    assert str(parse("5")) == "every 5 steps"
    assert str(Linear(5, 2)) == "every 5 steps, from step 2"
    assert str(parse("log:0,5,200")) == "200 steps from 10^0 to 10^5"
