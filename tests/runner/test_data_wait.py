"""How long a submission waits for batches, which is what reading too slowly costs it."""

import threading

import pytest

from algoperf.pipeline import InputQueue


class Batches:
    """Batches that are there when `gate` opens."""

    num_batches = None

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.is_read = threading.Event()

    def batch(self, index):
        self.gate.wait()
        if index == 3:
            self.is_read.set()
        return {"inputs": index}


@pytest.fixture
def batches():
    made = Batches()
    yield made
    made.gate.set()


def test_batches_that_were_read_ahead_cost_no_waiting(batches):
    batches.gate.set()
    queue = InputQueue(batches, lambda batch: batch, num_workers=1)
    queue._fill()
    batches.is_read.wait()
    while not queue._pending[2].done():  # the last but one that is drawn
        pass
    for _ in range(3):
        next(queue)
    assert queue.wait_seconds == 0
    queue.close()


def test_waiting_for_a_batch_is_counted(batches):
    queue = InputQueue(batches, lambda batch: batch)
    threading.Timer(0.05, batches.gate.set).start()
    next(queue)
    assert queue.wait_seconds > 0.01
    queue.close()
