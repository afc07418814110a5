"""When silence means that a trial hangs, with a fake time."""

from algoperf.logs import Outcome
from algoperf.runner.clock import Clock
from algoperf.runner.supervision.preemption import StopRequest
from algoperf.runner.supervision.watchdog import (
    WARMUP_SECONDS,
    Heartbeat,
    Overtime,
    Pace,
)


def pace_of(fake_time, hang_seconds=None):
    heartbeat = Heartbeat()
    return heartbeat, Pace(heartbeat, fake_time, hang_seconds)


def steps(heartbeat, pace, fake_time, *seconds):
    """Steps of so many seconds, looked at after each."""
    for duration in seconds:
        fake_time.advance(duration)
        heartbeat.num_steps += 1
        pace.look()


def test_before_the_first_evaluation_compiling_may_take_long(fake_time):
    _, pace = pace_of(fake_time)
    assert pace.limit == WARMUP_SECONDS


def test_short_steps_may_be_quiet_for_a_minute(fake_time):
    heartbeat, pace = pace_of(fake_time)
    heartbeat.in_warmup = False
    steps(heartbeat, pace, fake_time, 200, 0.1, 0.1, 0.1)
    assert pace.limit == 60


def test_long_steps_may_be_quiet_for_ten_times_their_median(fake_time):
    heartbeat, pace = pace_of(fake_time)
    heartbeat.in_warmup = False
    steps(heartbeat, pace, fake_time, 200, 10, 12, 900)
    assert pace.limit == 120


def test_several_steps_between_two_looks_share_the_time(fake_time):
    heartbeat, pace = pace_of(fake_time, hang_seconds=1e-9)
    heartbeat.in_warmup = False
    steps(heartbeat, pace, fake_time, 1)
    heartbeat.num_steps += 4
    fake_time.advance(2)
    pace.look()
    assert pace.limit == 10 * 0.5


def test_quiet_time_counts_from_the_last_step(fake_time):
    heartbeat, pace = pace_of(fake_time)
    steps(heartbeat, pace, fake_time, 5)
    fake_time.advance(61)
    pace.look()
    assert pace.quiet_seconds == 61


def test_an_evaluated_batch_is_a_sign_of_life_but_no_step(fake_time):
    heartbeat, pace = pace_of(fake_time)
    heartbeat.in_warmup = False
    steps(heartbeat, pace, fake_time, 5, 1)
    fake_time.advance(300)
    heartbeat.beat()
    pace.look()
    assert pace.quiet_seconds == 0
    assert pace.limit == 60


def test_a_limit_of_the_users_holds_from_the_start(fake_time):
    _, pace = pace_of(fake_time, hang_seconds=20.0)
    assert pace.limit == 20


def overtime_of(fake_time, budget=100.0):
    clock, heartbeat, stop = Clock(fake_time), Heartbeat(), StopRequest()
    overtime = Overtime(clock, heartbeat, stop, 30.0, fake_time)
    overtime.budget_seconds = budget
    return clock, heartbeat, stop, overtime


def test_a_step_that_outlasts_budget_and_notice_ends_the_trial(fake_time):
    clock, _, _, overtime = overtime_of(fake_time)
    with clock.submission():
        for seconds, is_over in ((99, False), (2, False), (29, False), (2, True)):
            fake_time.advance(seconds)
            ending = overtime.look()
            assert (ending is not None) == is_over
    assert ending.outcome is Outcome.NOT_REACHED
    assert "the budget of 100 s was spent" in ending.reason


def test_an_evaluation_may_last_longer_than_the_budget(fake_time):
    clock, _, _, overtime = overtime_of(fake_time)
    with clock.submission():
        fake_time.advance(99)
    with clock.evaluation():
        for _ in range(3):
            fake_time.advance(1_000)
            assert overtime.look() is None


def test_steps_that_follow_each_other_are_no_step_that_lasts(fake_time):
    clock, heartbeat, _, overtime = overtime_of(fake_time)
    with clock.submission():
        fake_time.advance(101)
        assert overtime.look() is None
        heartbeat.num_steps += 1  # the loop looks at the budget after every step
        fake_time.advance(29)
        assert overtime.look() is None


def test_a_step_that_outlasts_the_notice_of_sigterm_is_preempted(fake_time):
    _, _, stop, overtime = overtime_of(fake_time)
    stop.is_set = True
    assert overtime.look() is None
    fake_time.advance(31)
    ending = overtime.look()
    assert ending.outcome is Outcome.PREEMPTED
    assert "within 30 s" in ending.reason and "--resume" in ending.reason
