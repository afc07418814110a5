"""The wmt workload's input pipeline: shuffle buffer, packing, batches."""

import dataclasses

import numpy as np
import pytest

from algoperf import pipeline
from algoperf.datasets.wmt import prepare, reader
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.prepared import Preparation, PreparedData
from algoperf.workloads.wmt import data
from algoperf.workloads.wmt.data_config import DataConfig
from algoperf.workloads.wmt.packing import GROUP, Rows, buffered_order, row_starts

SPLITS = Splits(train=3_600, eval_train=128, validation=128, test=128)
CONFIG = DataConfig(max_length=32, vocab_size=1_000, shuffle_buffer=4_096)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped pairs, prepared."""
    pytest.importorskip("sentencepiece")
    root = tmp_path_factory.mktemp("wmt")
    prepare.expand_embedded(root / "raw")
    with Preparation(
        root / "out", dataset="wmt", format_version=reader.FORMAT_VERSION
    ) as preparation:
        prepare.prepare(root / "raw", preparation, splits=SPLITS)
    return root / "out"


def open_batches(folder, split="train", **changes):
    request = pipeline.DataRequest(folder, split, SPLITS, 16, seed=5, config=CONFIG)
    return data.open_batches(dataclasses.replace(request, **changes))


def stored(folder, split="train"):
    return reader.read_split(PreparedData.open(folder, dataset="wmt"), split)


def sentence(sentences, index):
    cut = slice(sentences.offsets[index], sentences.offsets[index + 1])
    return sentences.tokens[cut].tolist()


def made_up(lengths, filler=7):
    """Sentences of these lengths; token `filler`, then 2."""
    lengths = np.array(lengths)
    tokens = np.full(lengths.sum(), filler, np.uint16)
    tokens[np.cumsum(lengths) - 1] = 2
    return reader.Sentences(tokens, np.concatenate([[0], np.cumsum(lengths)]))


def request_for(split, config=CONFIG, **sizes):
    splits = dataclasses.replace(SPLITS, **sizes)
    return pipeline.DataRequest("made up", split, splits, 4, seed=0, config=config)


def test_the_published_numbers():
    config = DataConfig()
    assert (config.max_length, config.vocab_size) == (256, 32_000)
    assert config.shuffle_buffer == 1_024
    assert GROUP == 256


# The shuffle buffer.


def naive_buffer(num_pairs, buffer, rng):
    """A buffer that is really filled and emptied, pair by pair."""
    buffer = min(buffer, num_pairs)
    slots = rng.integers(0, buffer, num_pairs - buffer)
    held, order = list(range(buffer)), []
    for new, slot in enumerate(slots.tolist(), buffer):
        order.append(held[slot])
        held[slot] = new
    return order + rng.permutation(held).tolist()


@pytest.mark.parametrize(
    ("num_pairs", "buffer"),
    [
        (1000, 7),
        (1000, 256),
        (1000, 999),
        (1000, 1000),
        (1000, 4096),
        (1000, 1),
        (1, 1),
    ],
)
def test_the_order_is_that_of_a_real_shuffle_buffer(num_pairs, buffer):
    seed = np.random.SeedSequence((3, 9))
    rng = np.random.Generator(np.random.Philox(seed))
    expected = naive_buffer(num_pairs, buffer, rng)
    found = buffered_order(num_pairs, buffer, seed=3, epoch=9)
    assert found.tolist() == expected


def test_an_epoch_visits_every_pair_once():
    order = buffered_order(5_000, 64, seed=0, epoch=0)
    assert sorted(order) == list(range(5_000))


def test_no_pair_comes_earlier_than_the_buffer_allows():
    order = buffered_order(5_000, 64, seed=0, epoch=0)
    assert (order - np.arange(5_000)).max() < 64


def test_epochs_and_seeds_differ_in_order():
    first = buffered_order(100, 10, seed=0, epoch=0)
    assert not np.array_equal(first, buffered_order(100, 10, seed=0, epoch=1))
    assert not np.array_equal(first, buffered_order(100, 10, seed=1, epoch=0))


# Packing.


def naive_rows(lengths, room):
    """Rows of a group of pairs, by the words of the published rule."""
    rows, current, used = [], [], np.zeros(2, int)
    for number, size in enumerate(np.array(lengths).T):
        if current and (used + size > room).any():
            rows.append(current)
            current, used = [], np.zeros(2, int)
        current.append(number)
        used += size
    return [*rows, current]


def test_rows_follow_the_published_rule():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 33, (2, 20, GROUP)).astype(np.int32)
    starts = row_starts(lengths, 32)
    for group in range(20):
        rows = naive_rows(lengths[:, group], 32)
        assert np.flatnonzero(starts[group]).tolist() == [row[0] for row in rows]


def test_a_row_ends_when_either_side_is_full():
    lengths = np.array([[[10, 10, 10, 10]], [[10, 22, 1, 30]]], np.int32)
    assert row_starts(lengths, 32).tolist() == [[True, False, True, False]]
    assert row_starts(lengths[::-1], 32).tolist() == [[True, False, True, False]]


def test_pairs_that_fill_a_row_exactly_fit():
    lengths = np.array([[[16, 16, 32]], [[31, 1, 32]]], np.int32)
    assert row_starts(lengths, 32).tolist() == [[True, False, True]]


def rows_of(num_pairs, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 33, (2, num_pairs)).astype(np.int32)

    def order(epoch):
        return buffered_order(num_pairs, 50, 0, epoch)

    return lengths, order, Rows(lengths, 32, order)


def test_rows_run_through_groups_of_the_endless_stream():
    lengths, order, rows = rows_of(1_000)
    stream = np.concatenate([order(epoch) for epoch in range(40)])
    expected = []
    for first in range(0, len(stream) - GROUP, GROUP):
        group = stream[first : first + GROUP]
        expected += [group[row].tolist() for row in naive_rows(lengths[:, group], 32)]
    pairs, counts = rows.pairs(0, len(expected))
    assert [r.tolist() for r in np.split(pairs, np.cumsum(counts)[:-1])] == expected


def test_rows_can_be_read_in_any_order():
    _, _, rows = rows_of(1_000)
    _, _, again = rows_of(1_000)
    whole, counts = rows.pairs(0, 30_000)
    ends = np.cumsum(counts)
    for first, last in ((29_000, 30_000), (5, 9), (11_000, 23_000)):
        pairs, found = again.pairs(first, last)
        assert found.tolist() == counts[first:last].tolist()
        np.testing.assert_array_equal(pairs, whole[ends[first - 1] : ends[last - 1]])


def test_one_pair_fills_groups_alone():
    rows = Rows(np.array([[8], [8]], np.int32), 32, lambda epoch: np.array([0]))
    pairs, counts = rows.pairs(0, 100)
    assert not pairs.any()
    assert counts.tolist() == [4] * 100


# Training batches.


def test_a_training_batch_has_the_documented_arrays(folder):
    batch = open_batches(folder).batch(0)
    ints = {
        f"{side}{suffix}"
        for side in ("inputs", "targets")
        for suffix in ("", "_position", "_segmentation")
    }
    assert set(batch) == ints | {"weights"}
    assert all(array.shape == (16, 32) for array in batch.values())
    assert all(batch[key].dtype == np.int32 for key in ints)
    assert batch["weights"].dtype == np.float32


def test_a_packed_row_holds_its_pairs_one_behind_the_other():
    config = dataclasses.replace(CONFIG, max_length=12, shuffle_buffer=1)
    pairs = reader.Pairs(made_up([4, 6, 5]), made_up([3, 2, 12], filler=9))
    batch = data.PackedBatches(request_for("train", config), pairs).batch(0)
    assert batch["inputs"][:2].tolist() == [
        [7, 7, 7, 2, 7, 7, 7, 7, 7, 2, 0, 0],
        [7, 7, 7, 7, 2, 0, 0, 0, 0, 0, 0, 0],
    ]
    assert batch["inputs_position"][0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 0, 0]
    segments = [1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0, 0]
    assert batch["inputs_segmentation"][0].tolist() == segments
    assert batch["targets"][0].tolist() == [9, 9, 2, 9, 2, 0, 0, 0, 0, 0, 0, 0]
    segments = [1, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0, 0]
    assert batch["targets_segmentation"][0].tolist() == segments
    np.testing.assert_array_equal(batch["weights"], batch["targets"] > 0)


def test_positions_and_segments_follow_from_each_other_as_published(folder):
    batch = open_batches(folder).batch(3)
    for side in ("inputs", "targets"):
        running = np.cumsum(batch[f"{side}_position"] == 0, axis=1)
        expected = running * (batch[side] != 0)
        np.testing.assert_array_equal(batch[f"{side}_segmentation"], expected)


def test_an_unknown_character_is_in_no_segment_and_has_no_weight():
    pairs = reader.Pairs(made_up([4] * 50, filler=0), made_up([4] * 50, filler=0))
    batch = data.PackedBatches(request_for("train"), pairs).batch(0)
    assert batch["targets_segmentation"][0, :8].tolist() == [0, 0, 0, 1, 0, 0, 0, 2]
    assert batch["targets_position"][0, :4].tolist() == [0, 1, 2, 3]
    assert batch["weights"][0, :4].tolist() == [0, 0, 0, 1]


def rows_as_pairs(batch):
    """Each pair of a batch, as lists of tokens."""
    found = []
    for row in range(len(batch["inputs"])):
        for segment in range(1, batch["inputs_segmentation"][row].max() + 1):
            found.append(
                tuple(
                    tuple(batch[k][row][batch[f"{k}_segmentation"][row] == segment])
                    for k in ("inputs", "targets")
                )
            )
    return found


def test_an_epoch_of_batches_holds_every_stored_pair(folder):
    pairs = stored(folder)
    batches = open_batches(folder)
    found = [
        pair for index in range(120) for pair in rows_as_pairs(batches.batch(index))
    ]
    assert len(found) > len(pairs)
    expected = {
        (tuple(sentence(pairs.inputs, i)), tuple(sentence(pairs.targets, i)))
        for i in range(len(pairs))
    }
    assert set(found[: len(pairs)]) == expected


def test_pairs_that_are_too_long_on_either_side_are_left_out():
    pairs = reader.Pairs(made_up([33, 5, 32, 4]), made_up([5, 33, 32, 6]))
    assert data.fitting(pairs, 32).tolist() == [False, False, True, True]
    batches = data.PackedBatches(request_for("train"), pairs)
    lengths = {len(a) for i in range(20) for a, _ in rows_as_pairs(batches.batch(i))}
    assert lengths == {32, 4}


def test_training_without_any_pair_that_fits_is_refused():
    pairs = reader.Pairs(made_up([33, 40]), made_up([5, 5]))
    with pytest.raises(BadData, match=r"No training pair .* at most 32 tokens"):
        data.PackedBatches(request_for("train"), pairs)


# Evaluation batches.


@pytest.mark.parametrize("split", ["eval_train", "validation", "test"])
def test_evaluation_sees_every_pair_once_and_pads_with_zeros(folder, split):
    batches = open_batches(folder, split, batch_size=48)
    assert batches.num_batches == 3
    found = [batches.batch(index) for index in range(3)]
    whole = {key: np.concatenate([batch[key] for batch in found]) for key in found[0]}
    assert set(whole) == {"inputs", "targets", "weights"}
    assert all(array.shape == (144, 32) for array in whole.values())
    assert whole["inputs"].dtype == whole["targets"].dtype == np.int32
    np.testing.assert_array_equal(whole["weights"], whole["targets"] > 0)
    assert (whole["weights"].any(axis=1) == (np.arange(144) < 128)).all()
    assert not whole["inputs"][128:].any()


def test_evaluation_rows_are_the_stored_pairs_in_order(folder):
    pairs = stored(folder, "test")
    batch = open_batches(folder, "test", batch_size=128).batch(0)
    for row in range(128):
        for side, key in ((pairs.inputs, "inputs"), (pairs.targets, "targets")):
            tokens = sentence(side, row)
            assert batch[key][row].tolist() == tokens + [0] * (32 - len(tokens))


def test_a_pair_that_is_too_long_is_an_example_without_weight():
    pairs = reader.Pairs(made_up([5, 40, 3]), made_up([4, 6, 32]))
    request = request_for("validation", validation=3)
    batch = data.evaluation_batches(request, pairs).batch(0)
    assert batch["inputs"][1, :3].tolist() == [2, 0, 0]
    assert batch["targets"][1, :3].tolist() == [2, 0, 0]
    assert batch["weights"].sum(axis=1).tolist() == [4, 0, 32, 0]


def test_eval_train_is_the_same_choice_of_training_pairs_for_every_seed(folder):
    first, other = (
        open_batches(folder, "eval_train", seed=seed, batch_size=128).batch(0)
        for seed in (0, 1)
    )
    np.testing.assert_equal(first, other)


def test_eval_train_is_drawn_from_the_head_of_the_pairs_that_fit():
    is_kept = np.ones(10_000, bool)
    is_kept[:500] = False
    chosen = data.eval_train_pairs(is_kept, 3_072, 1_024)
    assert len(np.unique(chosen)) == 3_072
    assert (chosen.min(), chosen.max()) >= (500, 4_000)
    assert chosen.max() < 500 + 3_072 + 1_024


def test_eval_train_takes_pairs_that_do_not_fit_where_there_are_no_others():
    is_kept = np.array([False, True, True, False])
    assert sorted(data.eval_train_pairs(is_kept, 4, 0)) == [0, 1, 2, 3]
    assert sorted(data.eval_train_pairs(is_kept, 2, 0)) == [1, 2]


def test_data_of_other_splits_are_refused(folder):
    full = Splits(train=5_906_184, eval_train=3_072, validation=3_000, test=3_003)
    with pytest.raises(BadData, match="the workload needs train 5906184"):
        open_batches(folder, splits=full)


def test_data_with_another_vocabulary_are_refused(folder):
    with pytest.raises(BadData, match="vocabulary of 1000 tokens; the workload has 32"):
        open_batches(folder, config=DataConfig(max_length=32))
