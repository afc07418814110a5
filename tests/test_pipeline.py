import threading
from pathlib import Path

import numpy as np
import pytest

from algoperf.definition import Splits
from algoperf.errors import AlgoPerfError
from algoperf.pipeline import (
    DataRequest,
    EpochOrder,
    ExampleBatches,
    InputQueue,
    chosen_examples,
    epoch_order,
    num_batches,
    pad_rows,
)

NUM_TRAIN, NUM_TEST = 10, 7


def request(split="train", **changes) -> DataRequest:
    values = {
        "folder": Path("nowhere"),
        "split": split,
        "splits": Splits(train=NUM_TRAIN, eval_train=4, validation=5, test=NUM_TEST),
        "batch_size": 4,
        "seed": 3,
    }
    return DataRequest(**{**values, **changes})


def read(ids, epochs):
    return {"ids": ids, "epochs": epochs, "pairs": np.stack([ids, -ids], axis=1)}


def batches(split="train", **changes) -> ExampleBatches:
    return ExampleBatches(request(split, **changes), read)


def ids_of(opened, indices) -> list[int]:
    return np.concatenate([opened.batch(i)["ids"] for i in indices]).tolist()


def reader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("algoperf-input")]


class NumberedBatches:
    """Batches that hold their own index; `failing` cannot be read."""

    def __init__(self, num_batches=None, failing=()) -> None:
        self.num_batches = num_batches
        self.failing = failing

    def batch(self, index):
        if index in self.failing:
            raise OSError(5, f"batch {index} is unreadable")
        return index


@pytest.fixture
def open_queue():
    """Opens queues of plain batches and closes them after the test."""
    queues = []

    def open_one(source, place=lambda batch: batch, **options):
        queues.append(InputQueue(source, place, **options))
        return queues[-1]

    yield open_one
    for queue in queues:
        queue.close()


def test_a_batch_is_a_pure_function_of_its_index():
    once = batches()
    expected = [once.batch(i)["ids"].tolist() for i in range(12)]
    again = batches()
    assert [again.batch(i)["ids"].tolist() for i in reversed(range(12))] == expected[
        ::-1
    ]


def test_every_example_is_read_once_an_epoch():
    drawn = ids_of(batches(batch_size=5), range(6))
    for epoch in range(3):
        one_epoch = drawn[NUM_TRAIN * epoch : NUM_TRAIN * (epoch + 1)]
        assert sorted(one_epoch) == list(range(NUM_TRAIN))


def test_every_epoch_has_its_own_order():
    orders = {tuple(epoch_order(NUM_TRAIN, 3, epoch).tolist()) for epoch in range(5)}
    assert len(orders) == 5


def test_the_order_depends_on_the_seed():
    assert ids_of(batches(seed=3), range(5)) != ids_of(batches(seed=4), range(5))


def test_the_order_stays_the_same_from_version_to_version():
    assert epoch_order(6, 3, 0).tolist() == [1, 0, 2, 5, 4, 3]


def test_training_batches_run_on_across_the_end_of_an_epoch():
    batch = batches(batch_size=4).batch(2)
    assert batch["epochs"].tolist() == [0, 0, 1, 1]
    expected = [*epoch_order(NUM_TRAIN, 3, 0)[8:], *epoch_order(NUM_TRAIN, 3, 1)[:2]]
    assert batch["ids"].tolist() == expected


def test_a_batch_may_be_larger_than_the_data():
    batch = batches(batch_size=25).batch(1)
    assert batch["epochs"].tolist() == [2] * 5 + [3] * 10 + [4] * 10
    assert sorted(batch["ids"][5:15]) == list(range(NUM_TRAIN))
    assert sorted(batch["ids"][15:]) == list(range(NUM_TRAIN))


def test_training_never_ends_and_is_never_padded():
    assert batches().num_batches is None
    assert "weights" not in batches().batch(10_000)


@pytest.mark.parametrize(
    ("batch_size", "expected"), [(1, 7), (3, 3), (4, 2), (7, 1), (8, 1)]
)
def test_evaluation_has_as_many_batches_as_hold_all_examples(batch_size, expected):
    assert batches("test", batch_size=batch_size).num_batches == expected


def test_evaluation_visits_every_example_in_order_and_pads_the_rest():
    opened = batches("test", batch_size=4)
    assert [opened.batch(i)["ids"].tolist() for i in (0, 1)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 0],
    ]
    weights = [opened.batch(i)["weights"].tolist() for i in (0, 1)]
    assert weights == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_evaluation_does_not_depend_on_the_seed():
    first, second = (ids_of(batches("test", seed=seed), range(2)) for seed in (3, 4))
    assert first == second


def test_evaluation_reads_as_of_epoch_zero():
    assert set(batches("test").batch(1)["epochs"].tolist()) == {0}


def test_a_part_of_the_split_may_be_all_there_is():
    opened = ExampleBatches(request("test", batch_size=2), read, num_examples=3)
    assert opened.num_batches == 2
    assert opened.batch(1)["weights"].tolist() == [1, 0]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("num_shards", [2, 4, 8])
def test_shards_of_a_batch_make_the_whole_batch(split, num_shards):
    whole = batches(split, batch_size=8)
    shards = [
        batches(split, batch_size=8, shard=shard, num_shards=num_shards)
        for shard in range(num_shards)
    ]
    for index in range(whole.num_batches or 5):
        parts = [shard.batch(index) for shard in shards]
        for key, rows in whole.batch(index).items():
            joined = np.concatenate([part[key] for part in parts])
            np.testing.assert_array_equal(joined, rows)
            assert joined.dtype == rows.dtype


def test_a_shard_of_padding_alone_has_the_shapes_of_the_others():
    opened = batches("test", batch_size=16, shard=3, num_shards=4)
    batch = opened.batch(0)
    assert batch["weights"].tolist() == [0, 0, 0, 0]
    assert batch["pairs"].shape == (4, 2)


def test_padding_keeps_shapes_and_dtypes():
    padded = pad_rows({"x": np.ones((2, 3), np.float16), "y": np.ones(2, bool)}, 5)
    assert (padded["x"].shape, padded["x"].dtype) == ((5, 3), np.dtype(np.float16))
    assert padded["y"].tolist() == [True, True, False, False, False]
    assert padded["weights"].dtype == np.float32


def test_padding_keeps_the_weights_of_real_rows():
    batch = {"x": np.ones(3), "weights": np.array([0.5, 0.0, 2.0], np.float32)}
    assert pad_rows(batch, 4)["weights"].tolist() == [0.5, 0.0, 2.0, 0.0]


def test_a_full_batch_gets_weights_too():
    assert pad_rows({"x": np.ones(2)}, 2)["weights"].tolist() == [1, 1]


def test_padding_leaves_the_batch_that_it_was_given_alone():
    batch = {"x": np.ones(2)}
    pad_rows(batch, 3)
    assert list(batch) == ["x"] and len(batch["x"]) == 2


def test_a_queue_gives_placed_batches_in_order(open_queue):
    queue = open_queue(NumberedBatches(), lambda batch: batch * 10, num_workers=4)
    assert [next(queue) for _ in range(50)] == [10 * i for i in range(50)]


def test_a_queue_ends_after_the_last_batch(open_queue):
    queue = open_queue(NumberedBatches(num_batches=3))
    assert list(queue) == [0, 1, 2]
    with pytest.raises(StopIteration):
        next(queue)


def test_a_queue_of_nothing_is_empty(open_queue):
    assert list(open_queue(NumberedBatches(num_batches=0))) == []


def test_the_position_counts_batches_that_were_drawn_not_those_read_ahead(open_queue):
    queue = open_queue(NumberedBatches(), num_ahead=8)
    for _ in range(3):
        next(queue)
    assert queue.position == 3


def test_a_queue_continues_exactly_from_a_position(open_queue):
    first = open_queue(batches())
    drawn = [next(first)["ids"].tolist() for _ in range(9)]
    resumed = open_queue(batches(), start=4)
    assert [next(resumed)["ids"].tolist() for _ in range(5)] == drawn[4:]
    assert resumed.position == 9


def test_a_queue_reads_no_more_than_a_few_batches_ahead(open_queue):
    read_ahead = []
    queue = open_queue(NumberedBatches(), read_ahead.append, num_ahead=4)
    next(queue)
    queue.close()
    assert max(len(read_ahead), 1) <= 5


def test_nothing_is_read_before_the_first_batch_is_asked_for(open_queue):
    placed = []
    open_queue(NumberedBatches(), placed.append).close()
    assert placed == []


def test_an_error_in_the_reading_thread_surfaces_when_its_batch_is_drawn(open_queue):
    queue = open_queue(NumberedBatches(failing=[2]))
    assert [next(queue), next(queue)] == [0, 1]
    with pytest.raises(Exception, match="batch 2 is unreadable"):
        next(queue)


def test_an_error_of_reading_is_one_message_for_people(open_queue):
    queue = open_queue(NumberedBatches(failing=[0]))
    with pytest.raises(AlgoPerfError, match="batch 0 is unreadable"):
        next(queue)


def test_an_unreadable_batch_is_not_skipped(open_queue):
    queue = open_queue(NumberedBatches(failing=[1]))
    next(queue)
    for _ in range(2):
        with pytest.raises(Exception, match="batch 1 is unreadable"):
            next(queue)
    assert queue.position == 1


def test_an_error_of_placing_surfaces(open_queue):
    def place(batch):
        raise MemoryError("device")

    with pytest.raises(Exception, match="device"):
        next(open_queue(NumberedBatches(), place))


def test_a_closed_queue_leaves_no_thread_behind(open_queue):
    before = set(reader_threads())
    queue = open_queue(NumberedBatches())
    next(queue)
    assert set(reader_threads()) > before
    queue.close()
    assert set(reader_threads()) == before


def test_a_queue_can_be_closed_after_an_error(open_queue):
    before = set(reader_threads())
    queue = open_queue(NumberedBatches(failing=[0]))
    with pytest.raises(Exception, match="unreadable"):
        next(queue)
    queue.close()
    assert set(reader_threads()) == before


def test_a_queue_can_be_closed_twice(open_queue):
    queue = open_queue(NumberedBatches())
    queue.close()
    queue.close()
    assert queue.position == 0


def test_a_split_has_the_examples_that_its_files_hold_in_their_order():
    for split in ("train", "validation", "test"):
        assert chosen_examples(request(split), 6, seed=1).tolist() == list(range(6))


def test_eval_train_is_a_choice_of_training_examples_that_no_run_changes():
    chosen = [chosen_examples(request("eval_train", seed=s), 10, 1) for s in (0, 5)]
    np.testing.assert_array_equal(*chosen)
    assert chosen[0].tolist() == epoch_order(10, 1, 0)[:4].tolist()
    other = chosen_examples(request("eval_train"), 10, seed=2)
    assert other.tolist() != chosen[0].tolist()


def test_a_pass_has_as_many_batches_as_its_examples_need():
    assert num_batches(request("test"), 8) == 2
    assert num_batches(request("test"), 9) == 3
    assert num_batches(request("train"), 9) is None


def test_positions_of_the_stream_are_examples_of_their_epochs():
    stream = EpochOrder(10, seed=3)
    ids, epochs = stream.at(np.array([0, 9, 10, 25]))
    assert epochs.tolist() == [0, 0, 1, 2]
    orders = [epoch_order(10, 3, epoch) for epoch in range(3)]
    assert ids.tolist() == [orders[0][0], orders[0][9], orders[1][0], orders[2][5]]
