"""Checkpoints of several processes whose states differ in places."""

import threading

import numpy as np

from algoperf.runner.checkpoints import ranks as rank_states


class Meeting:
    """Stands for the processes' messages: each of several threads is a rank."""

    def __init__(self, num_processes):
        self.num_processes = num_processes
        self._values = [None] * num_processes
        self._barrier = threading.Barrier(num_processes, timeout=60)

    def exchange(self, rank, value):
        self._values[rank] = value
        self._barrier.wait()
        values = list(self._values)
        self._barrier.wait()
        return values


class Process:
    def __init__(self, meeting, rank):
        self.rank, self.num_processes = rank, meeting.num_processes
        self.processes = self
        self.gather = lambda value: meeting.exchange(rank, value)
        self.broadcast = lambda value: meeting.exchange(rank, value)[0]


def joined(*states):
    """What the first process saves of states (arrays, rest), one per rank."""
    meeting, results = Meeting(len(states)), [None] * len(states)

    def run(rank):
        process = Process(meeting, rank)
        results[rank] = rank_states.join(process, *states[rank])

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(states))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results[0]


def check_round_trip(*states):
    arrays, ranks = joined(*states)
    for rank, (own, rest) in enumerate(states):
        found, found_rest = rank_states.of_rank(rank, arrays, ranks)
        assert found_rest == rest
        assert found.keys() == own.keys()
        for name in own:
            np.testing.assert_array_equal(found[name], own[name])
            assert found[name].dtype == own[name].dtype
    return arrays


SHARED = np.arange(6.0).reshape(2, 3)


def test_one_process_saves_what_it_has():
    check_round_trip(({"w": SHARED}, {"step": 3}))


def test_what_is_the_same_everywhere_is_saved_once():
    states = [({"w": SHARED.copy()}, {"rank": rank}) for rank in range(3)]
    assert check_round_trip(*states).keys() == {"w"}


def test_what_differs_is_saved_for_each():
    states = [({"w": SHARED, "m": np.full(2, rank)}, {}) for rank in range(3)]
    assert len(check_round_trip(*states)) == 4


def test_processes_may_have_arrays_of_their_own_and_lack_others():
    check_round_trip(
        ({"a": SHARED, "b": np.int8([1])}, {}), ({"a": SHARED, "c": np.zeros(0)}, {})
    )


def test_the_same_bytes_of_another_type_or_shape_are_another_array():
    check_round_trip(
        ({"a": np.zeros(2, np.int32)}, {}),
        ({"a": np.zeros(2, np.float32)}, {}),
        ({"a": np.zeros((2, 1), np.int32)}, {}),
    )
