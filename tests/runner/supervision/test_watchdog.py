"""When silence means that a trial hangs, with a fake time."""

import os
import time

from algoperf.runner.supervision.watchdog import (
    PATIENT_SECONDS,
    Pace,
    Progress,
    is_overdue,
)


def pace_of(fake_time, hang_seconds=60.0):
    progress = Progress()
    return progress, Pace(progress, fake_time, hang_seconds)


def steps(progress, pace, fake_time, *seconds):
    """Steps of so many seconds, looked at after each."""
    for duration in seconds:
        fake_time.advance(duration)
        progress.num_steps += 1
        pace.look()


def test_before_the_first_evaluation_compiling_may_take_long(fake_time):
    _, pace = pace_of(fake_time)
    assert pace.limit == PATIENT_SECONDS


def test_short_steps_may_be_quiet_for_a_minute(fake_time):
    progress, pace = pace_of(fake_time)
    progress.is_patient = False
    steps(progress, pace, fake_time, 200, 0.1, 0.1, 0.1)
    assert pace.limit == 60


def test_long_steps_may_be_quiet_for_ten_times_their_median(fake_time):
    progress, pace = pace_of(fake_time)
    progress.is_patient = False
    steps(progress, pace, fake_time, 200, 10, 12, 900)
    assert pace.limit == 120


def test_several_steps_between_two_looks_share_the_time(fake_time):
    progress, pace = pace_of(fake_time, hang_seconds=0.0)
    progress.is_patient = False
    steps(progress, pace, fake_time, 1)
    progress.num_steps += 4
    fake_time.advance(2)
    pace.look()
    assert pace.limit == 10 * 0.5


def test_quiet_time_counts_from_the_last_step(fake_time):
    progress, pace = pace_of(fake_time)
    steps(progress, pace, fake_time, 5)
    fake_time.advance(61)
    pace.look()
    assert pace.quiet_seconds == 61


def test_an_evaluated_batch_is_a_sign_of_life_but_no_step(fake_time):
    progress, pace = pace_of(fake_time)
    progress.is_patient = False
    steps(progress, pace, fake_time, 5, 1)
    fake_time.advance(300)
    progress.sign()
    pace.look()
    assert pace.quiet_seconds == 0
    assert pace.limit == 60


def test_a_process_that_has_not_begun_is_not_overdue(tmp_path):
    assert not is_overdue(tmp_path / "alive")


def test_a_process_whose_watchdog_has_fallen_silent_is_overdue(tmp_path):
    alive = tmp_path / "alive"
    alive.write_text("60")
    assert not is_overdue(alive)
    long_ago = time.time() - 100
    os.utime(alive, (long_ago, long_ago))
    assert is_overdue(alive)
