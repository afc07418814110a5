"""The criteo1tb workload: numbers, order of rows, batches, metrics."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from algoperf import pipeline, registry
from algoperf.datasets.criteo1tb import prepare, reader
from algoperf.definition import Splits
from algoperf.errors import BadData, BadSettings
from algoperf.prepared import Preparation
from algoperf.workloads.criteo1tb import data, metrics
from algoperf.workloads.criteo1tb.definition import DEFINITION, DataConfig

MINI = registry.definition("criteo1tb_mini")
# Files of 10, 10 and 7 training rows; the first integer of a row is its number.
SPLITS = Splits(train=27, eval_train=12, validation=5, test=10)
FILE_STARTS = {0: 10, 10: 10, 20: 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prepared data whose rows are numbered: train from 0, test 100, validation 200."""
    path = tmp_path_factory.mktemp("criteo") / "criteo1tb"
    files = {"train": [range(0, 10), range(10, 20), range(20, 27)]}
    files |= {"test": [range(100, 110)], "validation": [range(200, 205)]}
    names = {}
    with Preparation(path, dataset="criteo1tb", format_version=1) as preparation:
        for split, parts in files.items():
            names[split] = [f"{split}_{i}.bin" for i in range(len(parts))]
            for name, numbers in zip(names[split], parts, strict=True):
                with preparation.part(name) as part:
                    write_rows(part, np.array(numbers))
        counts = {split: sum(map(len, parts)) for split, parts in files.items()}
        preparation.finish(counts, {"files": names})
    return path


def write_rows(path, numbers):
    """Buckets of column 0 are 2^25 + number: rounded in float32."""
    logarithms = np.tile(numbers, (13, 1)).astype(np.float32)
    buckets = np.tile(numbers, (26, 1)) % np.array(reader.NUM_BUCKETS)[:, np.newaxis]
    buckets[0] = 2**25 + numbers
    writer = reader.RowWriter(path)
    writer.append(*reader.pack(numbers % 2, logarithms, buckets.astype(np.int32)))
    writer.close()


def open_batches(folder, split="train", **changes):
    request = pipeline.DataRequest(
        folder, split, SPLITS, batch_size=4, seed=5, config=DataConfig()
    )
    return data.open_batches(dataclasses.replace(request, **changes))


def numbers(batches, first, count):
    """Row numbers of some consecutive batches."""
    drawn = [batches.batch(first + i)["inputs"][:, 0] for i in range(count)]
    return np.concatenate(drawn).astype(int).tolist()


def test_published_numbers():
    limits = {k: (v.budget_seconds, v.step_hint) for k, v in DEFINITION.limits.items()}
    assert limits == {
        "v0.5": (7_703, 10_666),
        "v0.6": (7_703, 10_666),
        "v1.0": (8_915, 10_666),
    }
    assert DEFINITION.eval_period_seconds == 120
    assert DEFINITION.default_dropout_rate == 0.0
    assert DEFINITION.ignores_label_smoothing
    splits = DEFINITION.splits
    assert splits.train + splits.validation + splits.test == 4_373_472_329
    assert splits.validation + splits.test == 178_274_637
    assert splits.eval_train == -(-splits.validation // 131_072) * 131_072


@pytest.mark.parametrize(
    ("name", "validation", "test"),
    [
        ("criteo1tb", 0.123735, 0.126041),
        ("criteo1tb_layernorm", 0.123757, 0.126152),
        ("criteo1tb_resnet", 0.12415, 0.12648),
        ("criteo1tb_embed_init", 0.129657, 0.131967),
    ],
)
def test_published_targets(name, validation, test):
    target = registry.definition(name).target
    assert target == dataclasses.replace(target, validation=validation, test=test)
    assert (target.metric, target.better) == ("loss", "lower")


def test_a_training_batch_has_the_documented_arrays(folder):
    batch = open_batches(folder).batch(0)
    assert set(batch) == {"inputs", "targets"}
    assert (batch["inputs"].shape, batch["inputs"].dtype) == ((4, 39), np.float32)
    assert (batch["targets"].shape, batch["targets"].dtype) == ((4,), np.float32)
    parity = batch["inputs"][:, 0] % 2
    np.testing.assert_array_equal(batch["targets"], parity)


def test_files_are_shuffled_and_rows_follow_each_other_within_a_file(folder):
    for epoch in range(6):
        rows = numbers(open_batches(folder, batch_size=27), epoch, 1)
        position = 0
        while position < len(rows):
            length = FILE_STARTS[rows[position]]
            start = rows[position]
            expected = list(range(start, start + length))
            assert rows[position : position + length] == expected
            position += length


def test_epochs_and_seeds_differ_in_the_order_of_files(folder):
    batches = open_batches(folder, batch_size=27)
    assert len({numbers(batches, epoch, 1)[0] for epoch in range(20)}) == 3
    firsts = {
        numbers(open_batches(folder, batch_size=27, seed=seed), 0, 1)[0]
        for seed in range(20)
    }
    assert len(firsts) == 3


def test_training_batches_are_full_and_run_on_across_epochs(folder):
    rows = numbers(open_batches(folder, batch_size=4), 0, 27)
    assert len(rows) == 108
    for epoch in range(4):
        assert sorted(rows[27 * epoch : 27 * epoch + 27]) == list(range(27))


def test_a_batch_may_be_larger_than_the_data(folder):
    rows = numbers(open_batches(folder, batch_size=60), 0, 1)
    assert rows == numbers(open_batches(folder, batch_size=4), 0, 15)


def test_a_batch_depends_on_its_index_alone(folder):
    batches, again = open_batches(folder), open_batches(folder)
    for index in (70, 3, 70):
        np.testing.assert_equal(batches.batch(index), again.batch(index))


def test_a_queue_continues_exactly_at_a_saved_position(folder):
    def draw(start, number):
        queue = pipeline.InputQueue(open_batches(folder), dict, start=start)
        drawn = [next(queue)["inputs"] for _ in range(number)]
        queue.close()
        return drawn, queue.position

    (whole, _), (_, position) = draw(0, 40), draw(0, 25)
    np.testing.assert_equal(draw(position, 15)[0], whole[25:])


@pytest.mark.parametrize("split", ["train", "eval_train", "validation", "test"])
def test_shards_together_are_the_batch(folder, split):
    whole = open_batches(folder, split).batch(1)
    parts = [
        open_batches(folder, split, shard=shard, num_shards=4).batch(1)
        for shard in range(4)
    ]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in whole}
    np.testing.assert_equal(joined, whole)


@pytest.mark.parametrize(("split", "start"), [("validation", 200), ("test", 100)])
def test_evaluation_reads_rows_in_order_and_pads_with_weight_0(folder, split, start):
    batches = open_batches(folder, split)
    size = SPLITS.size(split)
    assert batches.num_batches == -(-size // 4)
    rows = numbers(batches, 0, batches.num_batches)
    assert rows[:size] == list(range(start, start + size))
    assert not any(rows[size:])
    drawn = [batches.batch(i)["weights"] for i in range(batches.num_batches)]
    weights = np.concatenate(drawn)
    assert weights.dtype == np.float32
    assert weights.tolist() == [1.0] * size + [0.0] * (len(rows) - size)


def test_eval_train_is_the_same_training_files_for_every_seed(folder):
    rows = numbers(open_batches(folder, "eval_train", batch_size=12), 0, 1)
    other = open_batches(folder, "eval_train", batch_size=12, seed=9)
    assert rows == numbers(other, 0, 1)
    assert set(rows) <= set(range(27))
    assert len(set(rows)) == 12
    assert rows[0] in FILE_STARTS


def test_rows_can_be_shuffled_in_blocks(folder):
    config = DataConfig(shuffle_block_rows=2)
    rows = numbers(open_batches(folder, batch_size=27, config=config), 0, 1)
    assert sorted(rows) == list(range(27))
    blocks = [row for row in rows if row % 2 == 0]
    assert blocks != sorted(blocks)
    follows = {row: rows[i + 1] for i, row in enumerate(rows[:-1])}
    assert all(follows[row] == row + 1 for row in range(0, 26, 2))


def test_single_rows_can_be_shuffled(folder):
    config = DataConfig(shuffle_block_rows=1)
    rows = numbers(open_batches(folder, batch_size=27, config=config), 0, 1)
    assert sorted(rows) == list(range(27))
    assert sum(b == a + 1 for a, b in itertools.pairwise(rows)) < 10


def test_shuffling_leaves_evaluation_as_it_is(folder):
    config = DataConfig(shuffle_block_rows=1)
    for split in ("eval_train", "validation", "test"):
        np.testing.assert_equal(
            open_batches(folder, split, config=config).batch(0),
            open_batches(folder, split).batch(0),
        )


def test_blocks_below_one_row_are_refused(folder):
    with pytest.raises(BadSettings, match="shuffle_block_rows is 0"):
        open_batches(folder, config=DataConfig(shuffle_block_rows=0))


def test_blocks_that_are_too_many_to_shuffle_are_refused(tmp_path):
    files = [reader.RowFile(tmp_path, 5_000_000)] * 800
    with pytest.raises(BadSettings, match="Give at least 120"):
        data.RowOrder(files, 64, seed=0)


def test_buckets_are_rounded_to_float32_unless_exact_ones_are_asked_for(folder):
    config = DataConfig(exact_ids=True)
    published = open_batches(folder, "test", batch_size=10).batch(0)
    exact = open_batches(folder, "test", batch_size=10, config=config).batch(0)
    buckets = 2**25 + np.arange(100, 110)
    rows = 4_194_304
    np.testing.assert_array_equal(
        published["inputs"][:, 13].astype(np.int64) % rows,
        buckets.astype(np.float32).astype(np.int64) % rows,
    )
    np.testing.assert_array_equal(
        exact["inputs"][:, 13].astype(np.int64) % rows, buckets % rows
    )
    np.testing.assert_array_equal(published["inputs"][:, :13], exact["inputs"][:, :13])


def test_data_of_another_size_are_refused(folder):
    with pytest.raises(BadData, match=r"train 27.*needs.* train 28|train 28"):
        open_batches(folder, splits=dataclasses.replace(SPLITS, train=28))


def outputs(loss, weights):
    batch = {"weights": np.array(weights, np.float32)}
    per_example = np.array(loss, np.float32)
    return metrics.outputs(np, None, batch, per_example)


def test_the_loss_is_the_mean_over_examples_that_are_no_padding():
    batches = [outputs([0.5, 0.25], [1, 1]), outputs([1.0, 0.0], [1, 0])]
    result = metrics.summarise(batches)
    assert result == {"loss": pytest.approx(1.75 / 3), "num_examples": 3}


def test_the_loss_is_that_of_scikit_learn():
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 1000)
    logits = rng.normal(size=1000)
    per_example = np.logaddexp(0, logits) - labels * logits
    expected = sklearn_metrics.log_loss(labels, 1 / (1 + np.exp(-logits)))
    batches = [
        outputs(per_example[i : i + 100], np.ones(100)) for i in range(0, 1000, 100)
    ]
    assert metrics.summarise(batches)["loss"] == pytest.approx(expected, rel=1e-6)


def test_batches_are_added_in_float64():
    batches = [outputs([1.0], [1])] + [outputs([1e-9], [1])] * 1000
    expected = (1 + 1000 * float(np.float32(1e-9))) / 1001
    assert metrics.summarise(batches)["loss"] == pytest.approx(expected, rel=1e-12)


def test_a_loss_that_is_not_finite_stays_so():
    assert math.isnan(metrics.summarise([outputs([math.nan], [1])])["loss"])


@pytest.fixture(scope="module")
def mini_folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("criteo1tb_mini")
    prepare.expand_embedded(path / "raw")
    with Preparation(
        path / "criteo1tb_mini", dataset="criteo1tb", format_version=1
    ) as preparation:
        prepare.prepare(path / "raw", preparation, splits=MINI.splits)
    return path / "criteo1tb_mini"


def test_memory_stays_flat_over_50_evaluations(mini_folder):
    psutil = pytest.importorskip("psutil")
    request = pipeline.DataRequest(
        mini_folder, "validation", MINI.splits, batch_size=1000, seed=0
    )

    def evaluate():
        opened = data.open_batches(request)
        return sum(opened.batch(i)["weights"].sum() for i in range(opened.num_batches))

    process = psutil.Process()
    for _ in range(10):
        evaluate()
    before, open_files = process.memory_info().rss, process.num_fds()
    for _ in range(50):
        assert evaluate() == 10_000
    assert process.memory_info().rss - before < 20e6
    assert process.num_fds() == open_files
