import time

import pytest

from algoperf.runner import clock as clock_module
from algoperf.runner.clock import Clock, Phase

PHASES = [phase.value for phase in Phase]


class FakeTime:
    """A clock that stands still until it is told to advance."""

    def __init__(self, start: float = 1000.0) -> None:
        self.seconds = start

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.mark.parametrize("name", PHASES)
def test_a_block_is_charged_to_its_phase_alone(name):
    now = FakeTime()
    clock = Clock(now)
    with getattr(clock, name)():
        now.advance(3)
    expected = {phase: 3.0 if phase.value == name else 0.0 for phase in Phase}
    assert {phase: clock.seconds(phase) for phase in Phase} == expected


def test_blocks_of_a_phase_add_up():
    now = FakeTime()
    clock = Clock(now)
    for seconds in (1, 2, 4):
        with clock.submission():
            now.advance(seconds)
        now.advance(100)
    assert clock.submission_seconds == 7


def test_evaluation_time_is_not_charged_to_the_submission():
    now = FakeTime()
    clock = Clock(now)
    with clock.submission():
        now.advance(3)
    with clock.evaluation():
        now.advance(100)
    assert clock.submission_seconds == 3


def test_seconds_of_a_running_block_are_counted():
    now = FakeTime()
    clock = Clock(now)
    with clock.submission():
        now.advance(2)
        assert clock.submission_seconds == 2
        now.advance(1)
    assert clock.submission_seconds == 3


@pytest.mark.parametrize("outer", PHASES)
@pytest.mark.parametrize("inner", PHASES)
def test_phases_never_nest(outer, inner):
    clock = Clock(FakeTime())
    with (
        getattr(clock, outer)(),
        pytest.raises(RuntimeError, match=f"already runs for {outer}"),
        getattr(clock, inner)(),
    ):
        pass


def test_a_refused_block_leaves_the_running_one_as_it_is():
    now = FakeTime()
    clock = Clock(now)
    with clock.submission():
        now.advance(1)
        with pytest.raises(RuntimeError), clock.evaluation():
            pass
        now.advance(1)
    assert (clock.submission_seconds, clock.seconds(Phase.EVALUATION)) == (2, 0)


def test_a_block_that_raises_is_still_charged():
    now = FakeTime()
    clock = Clock(now)
    with pytest.raises(ValueError, match="boom"), clock.submission():
        now.advance(5)
        raise ValueError("boom")
    assert clock.submission_seconds == 5


def test_the_clock_can_go_on_after_a_block_that_raised():
    now = FakeTime()
    clock = Clock(now)
    with pytest.raises(ValueError, match="boom"), clock.submission():
        raise ValueError("boom")
    with clock.evaluation():
        now.advance(1)
    assert clock.seconds(Phase.EVALUATION) == 1


def test_accounting_closes():
    now = FakeTime()
    clock = Clock(now)
    for seconds, name in enumerate(PHASES, start=1):
        with getattr(clock, name)():
            now.advance(seconds)
    now.advance(0.5)
    accounting = clock.accounting()
    assert accounting["total"] == sum(range(1, len(PHASES) + 1)) + 0.5
    assert accounting["unaccounted"] == 0.5
    assert sum(accounting[name] for name in PHASES) == accounting["total"] - 0.5


def test_accounting_closes_within_a_block():
    now = FakeTime()
    clock = Clock(now)
    with clock.checkpoint():
        now.advance(2)
        accounting = clock.accounting()
    assert (accounting["checkpoint"], accounting["unaccounted"]) == (2, 0)


def test_the_time_before_the_clock_was_made_is_set_up():
    now = FakeTime(start=50.0)
    clock = Clock(now, started=46.0)
    assert clock.seconds(Phase.SETUP) == 4
    assert clock.total_seconds == 4
    assert clock.accounting()["unaccounted"] == 0


def test_a_resumed_clock_goes_on_from_the_earlier_seconds():
    now = FakeTime()
    first = Clock(now)
    with first.submission():
        now.advance(10)
    with first.evaluation():
        now.advance(5)
    now.advance(1)
    earlier = first.accounting()

    now.advance(10_000)  # until it is resumed
    clock = Clock(now, earlier=earlier, started=now() - 3)
    with clock.submission():
        now.advance(2)

    assert clock.accounting() == {
        "setup": 3.0,
        "submission": 12.0,
        "evaluation": 5.0,
        "logging": 0.0,
        "checkpoint": 0.0,
        "instruments": 0.0,
        "total": 21.0,
        "unaccounted": 1.0,
    }


def test_the_slowest_process_sets_the_submission_time():
    now = FakeTime()
    clock = Clock(now)
    with clock.submission():
        now.advance(2)
    clock.advance_to(3.5)
    assert clock.submission_seconds == 3.5


def test_a_faster_process_does_not_lower_the_submission_time():
    now = FakeTime()
    clock = Clock(now)
    with clock.submission():
        now.advance(2)
    clock.advance_to(1.0)
    assert clock.submission_seconds == 2


def test_accounting_closes_when_the_wait_for_the_slowest_was_outside_all_phases():
    now = FakeTime()
    clock = Clock(now)
    with clock.submission():
        now.advance(2)
    now.advance(1.5)  # in the barrier
    clock.advance_to(3.5)
    assert clock.accounting()["unaccounted"] == 0


def test_replacing_the_system_clock_later_has_no_effect(monkeypatch):
    for name in ("perf_counter", "monotonic", "time"):
        monkeypatch.setattr(time, name, lambda: 0.0)
    clock = Clock()
    with clock.submission():
        sum(range(10_000))
    assert clock.submission_seconds > 0


def test_replacing_the_clocks_own_reference_has_no_effect(monkeypatch):
    monkeypatch.setattr(clock_module, "_MONOTONIC", lambda: 0.0)
    clock = Clock()
    with clock.submission():
        sum(range(10_000))
    assert clock.submission_seconds > 0


def test_a_resumed_trial_has_paid_for_its_import_already(fake_time):
    clock = Clock(fake_time)
    with clock.submission():
        fake_time.advance(2)
    clock.resume_from({"submission": 30.0, "setup": 5.0, "total": 40.0})
    assert clock.submission_seconds == 30
    assert clock.seconds(Phase.SETUP) == 5 + 2
    assert clock.total_seconds == 40 + 2


def test_a_clock_knows_whether_the_submission_is_charged_now(fake_time):
    clock = Clock(fake_time)
    assert not clock.is_submission
    with clock.submission():
        assert clock.is_submission
    with clock.evaluation():
        assert not clock.is_submission
