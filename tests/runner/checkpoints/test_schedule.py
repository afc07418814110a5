import pytest

from algoperf.errors import BadSettings
from algoperf.runner.checkpoints.schedule import Period, Schedule


@pytest.fixture
def schedule(fake_time):
    return lambda text: Schedule(Period.parse(text), fake_time)


def save(schedule, fake_time, seconds=0.0, size_bytes=0, cpu_seconds=0.0):
    with schedule.saving():
        fake_time.advance(seconds)
    schedule.saved(size_bytes)
    schedule.written(cpu_seconds)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", Period()),
        ("0", Period(seconds=0)),
        ("600", Period(seconds=600)),
        ("90s", Period(seconds=90)),
        ("2.5min", Period(seconds=150)),
        ("10 min", Period(seconds=600)),
        ("1h", Period(seconds=3_600)),
        ("500MB", Period(bytes_per_hour=5e8)),
        ("20GB", Period(bytes_per_hour=2e10)),
        ("1TB", Period(bytes_per_hour=1e12)),
    ],
)
def test_periods_are_times_or_sizes(text, expected):
    assert Period.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "often", "-1", "1d", "10 m", "nan", "inf", "1e3", "0GB", "5gb", "9999999h"],
)
def test_other_periods_are_refused_with_what_is_possible(text):
    with pytest.raises(BadSettings, match=r"--checkpoint-every .* such as 600, 10min"):
        Period.parse(text)


@pytest.mark.parametrize("text", ["auto", "1h", "1GB"])
def test_the_first_one_is_due_at_once(schedule, text):
    assert schedule(text).is_due()


def test_a_time_is_counted_from_the_beginning_of_the_last(schedule, fake_time):
    hourly = schedule("1h")
    save(hourly, fake_time, seconds=100)
    fake_time.advance(3_499)
    assert not hourly.is_due()
    fake_time.advance(1)
    assert hourly.is_due()


def test_zero_is_every_evaluation(schedule, fake_time):
    always = schedule("0")
    save(always, fake_time, seconds=1_000, cpu_seconds=1_000)
    assert always.is_due()


def test_a_size_is_what_is_written_per_hour(schedule, fake_time):
    limited = schedule("20GB")
    save(limited, fake_time, size_bytes=5_000_000_000)
    fake_time.advance(899)
    assert not limited.is_due()
    fake_time.advance(1)
    assert limited.is_due()


def test_small_states_are_saved_at_every_evaluation_by_default(schedule, fake_time):
    auto = schedule("auto")
    for _ in range(100):
        fake_time.advance(1)
        assert auto.is_due()
        save(auto, fake_time, seconds=0.01)


@pytest.mark.parametrize("cost", ["seconds", "cpu_seconds"])
def test_large_states_take_a_hundredth_of_the_time_by_default(
    schedule, fake_time, cost, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    auto, spent, begin = schedule("auto"), 0.0, fake_time()
    for _ in range(1_000):
        fake_time.advance(60)
        if auto.is_due():
            save(auto, fake_time, **{cost: 3.0})
            spent += 3.0 if cost == "seconds" else 3.0 / 2  # of two processors
    share = spent / (fake_time() - begin)
    assert 0.009 < share < 0.0101
