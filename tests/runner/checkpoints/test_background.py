import threading

import pytest

from algoperf.errors import BadCheckpoint
from algoperf.runner.checkpoints.background import BackgroundWriter


@pytest.fixture
def writer():
    writer = BackgroundWriter()
    writer.start()
    yield writer
    writer.close()


def test_jobs_run_in_the_callers_thread_until_it_is_started():
    names = []
    BackgroundWriter().run(lambda: names.append(threading.current_thread()))
    assert names == [threading.current_thread()]


def test_its_one_thread_is_known_before_the_first_job(writer):
    (thread,) = writer.threads
    used = []
    for _ in range(3):
        writer.run(lambda: used.append(threading.current_thread()))
    writer.wait()
    assert used == [thread] * 3


def test_the_caller_goes_on_while_a_job_runs(writer):
    may_end = threading.Event()
    ended = []
    writer.run(lambda: (may_end.wait(), ended.append(True)))
    assert not ended
    may_end.set()
    writer.wait()
    assert ended


def test_a_job_starts_when_the_one_before_has_ended(writer):
    running, most = [], []

    def job():
        running.append(1)
        most.append(len(running))
        running.pop()

    for _ in range(20):
        writer.run(job)
    writer.wait()
    assert most == [1] * 20


@pytest.mark.parametrize("meet", ["wait", "run"])
def test_what_a_job_raised_is_raised_at_the_next_meeting_and_once(writer, meet):
    def fail():
        raise BadCheckpoint("no space left")

    writer.run(fail)
    with pytest.raises(BadCheckpoint, match="no space left"):
        writer.wait() if meet == "wait" else writer.run(list)
    writer.wait()


def test_closing_waits_for_the_job_and_hides_its_error():
    writer, ended = BackgroundWriter(), []
    writer.start()
    writer.run(lambda: (ended.append(True), 1 / 0))
    writer.close()
    assert ended == [True]


def test_the_processor_time_of_jobs_is_told_once(writer):
    writer.run(lambda: sum(range(1_000_000)))
    writer.wait()
    assert writer.take_cpu_seconds() > 0
    assert writer.take_cpu_seconds() == 0
