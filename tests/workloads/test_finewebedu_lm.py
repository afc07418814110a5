"""The language model's facts, batches and metrics."""

import dataclasses
import math

import numpy as np
import pytest

from algoperf import registry
from algoperf.datasets.fineweb_edu import reader
from algoperf.definition import Splits
from algoperf.errors import BadData
from algoperf.pipeline import DataRequest
from algoperf.prepared import Preparation
from algoperf.workloads.finewebedu_lm import data, metrics
from algoperf.workloads.finewebedu_lm.definition import DEFINITION, DataConfig

SPLITS = Splits(train=10, eval_train=3, validation=5, test=0)
CONFIG = DataConfig(vocab_size=1_000, sequence_length=6)
TRAIN = np.arange(70, dtype=np.uint16).reshape(10, 7)
VALIDATION = np.arange(500, 535, dtype=np.uint16).reshape(5, 7)


@pytest.fixture
def folder(tmp_path):
    """Ten training chunks in shards of four, five of validation."""
    with Preparation(
        tmp_path / "prepared", dataset="fineweb_edu", format_version=1
    ) as preparation:
        preparation.identify(raw_bytes={})
        for split, rows in (("train", TRAIN), ("validation", VALIDATION)):
            for index in range(-(-len(rows) // 4)):
                name = reader.shard_name(split, index)
                with preparation.part(name) as path, path.open("wb") as file:
                    np.save(file, rows[4 * index : 4 * index + 4])
        facts = {"vocab_size": 1_000, "chunk_length": 7, "shard_chunks": 4}
        counts = {"train": 10, "validation": 5, "test": 0}
        preparation.finish(counts, facts)
    return tmp_path / "prepared"


def open_batches(folder, split, batch_size=4, *, config=CONFIG, **options):
    request = DataRequest(
        folder=folder,
        split=split,
        splits=SPLITS,
        batch_size=batch_size,
        seed=options.pop("seed", 0),
        config=config,
        **options,
    )
    return data.open_batches(request)


def test_published_facts():
    limits = DEFINITION.limits["v1.0"]
    assert (limits.budget_seconds, limits.step_hint) == (31_967, 72_000)
    assert set(DEFINITION.limits) == {"v1.0"}
    target = DEFINITION.target
    assert (target.metric, target.validation, target.better) == (
        "ppl",
        22.2995,
        "lower",
    )
    assert math.log(target.validation) == pytest.approx(3.10456, abs=1e-5)
    assert DEFINITION.splits == Splits(8_749_870, 40 * 256, 391 * 256, 0)
    assert DEFINITION.eval_batch_size == 256
    assert DEFINITION.default_batch_size == 64
    assert DEFINITION.default_dropout_rate is None
    assert not DEFINITION.variants


def test_there_is_no_test_target_so_it_counts_as_reached():
    target = DEFINITION.target
    assert target.test is None
    assert target.reached({}, "test")
    assert target.reached({"test/ppl": math.nan}, "test")


@pytest.mark.parametrize(
    ("ppl", "expected"),
    [
        (22.29, True),
        (22.2995, False),
        (22.3, False),
        (math.nan, False),
        (math.inf, False),
    ],
)
def test_the_target_must_be_beaten(ppl, expected):
    assert DEFINITION.target.reached({"validation/ppl": ppl}, "validation") is expected


def test_inputs_and_targets_are_a_chunk_without_its_last_and_first_token(folder):
    batch = open_batches(folder, "validation").batch(0)
    np.testing.assert_array_equal(batch["inputs"], VALIDATION[:4, :6])
    np.testing.assert_array_equal(batch["targets"], VALIDATION[:4, 1:])
    assert batch["inputs"].dtype == batch["targets"].dtype == np.int32
    np.testing.assert_array_equal(batch["weights"], np.ones((4, 6), np.float32))


def test_the_last_evaluation_batch_is_padded_with_weight_0(folder):
    batches = open_batches(folder, "validation")
    assert batches.num_batches == 2
    batch = batches.batch(1)
    np.testing.assert_array_equal(batch["inputs"][0], VALIDATION[4, :6])
    assert batch["weights"].sum(axis=1).tolist() == [6, 0, 0, 0]
    assert batch["inputs"].shape == (4, 6)


def test_eval_train_is_the_head_of_train_whatever_the_seed(folder):
    for seed in (0, 1):
        batch = open_batches(folder, "eval_train", seed=seed).batch(0)
        np.testing.assert_array_equal(batch["inputs"][:3], TRAIN[:3, :6])
        assert batch["weights"].sum() == 3 * 6


def test_a_split_of_nothing_has_no_batch(folder):
    assert open_batches(folder, "test").num_batches == 0


def test_an_epoch_visits_every_chunk_once_and_training_weighs_none(folder):
    batches = open_batches(folder, "train", 5)
    assert batches.num_batches is None
    epochs = []
    for epoch in range(2):
        found = [batches.batch(2 * epoch + i) for i in range(2)]
        assert found[0].keys() == {"inputs", "targets"}
        firsts = np.concatenate([batch["inputs"][:, 0] for batch in found])
        assert sorted(firsts) == TRAIN[:, 0].tolist()
        epochs.append(firsts.tolist())
    assert epochs[0] != epochs[1]


def test_training_batches_run_on_across_the_end_of_an_epoch(folder):
    small, large = (open_batches(folder, "train", size) for size in (5, 15))
    together = [small.batch(i)["targets"] for i in range(3)]
    np.testing.assert_array_equal(large.batch(0)["targets"], np.concatenate(together))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_processes_read_their_own_parts_of_the_same_batch(folder, split):
    whole = open_batches(folder, split).batch(1)
    parts = [
        open_batches(folder, split, shard=i, num_shards=2).batch(1) for i in range(2)
    ]
    for key, rows in whole.items():
        joined = np.concatenate([part[key] for part in parts])
        np.testing.assert_array_equal(joined, rows)


@pytest.mark.parametrize("change", [{"vocab_size": 999}, {"sequence_length": 5}])
def test_data_of_another_tokenizer_or_length_are_refused(folder, change):
    config = dataclasses.replace(CONFIG, **change)
    with pytest.raises(
        BadData, match=r"1000 tokens, in chunks of 7; .* Delete the folder"
    ):
        open_batches(folder, "train", config=config)


def test_the_mini_and_its_data_agree():
    mini = registry.definition("finewebedu_lm_mini")
    for name in ("vocab_size", "sequence_length"):
        assert getattr(mini.model, name) == getattr(mini.data, name)
        assert getattr(DEFINITION.model, name) == getattr(DEFINITION.data, name)


def outputs(losses, weights):
    batch = {"weights": np.array(weights, np.float32)}
    losses = np.array(losses, np.float32)
    return metrics.outputs(np, None, batch, losses)


def test_perplexity_is_of_the_mean_over_all_tokens_of_the_split():
    first = outputs([[1.0, 2.0], [3.0, 4.0]], [[1, 1], [1, 1]])
    second = outputs([[9.0, 0.0], [0.0, 0.0]], [[1, 0], [0, 0]])
    found = metrics.summarise([first, second])
    assert found["loss"] == pytest.approx(19 / 5)
    assert found["ppl"] == pytest.approx(math.exp(19 / 5))
    assert found["num_examples"] == 3


def test_perplexity_equals_its_definition_on_random_logits():
    """-mean of log-probabilities, written out in float64."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(4, 5, 7)), rng.integers(0, 7, (4, 5))
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    losses = -np.take_along_axis(log_p, labels[..., None], axis=-1)[..., 0]
    found = metrics.summarise([outputs(losses, np.ones((4, 5)))])
    assert found["ppl"] == pytest.approx(np.exp(losses.mean()), rel=1e-6)


def test_padding_never_enters_even_if_it_is_not_finite():
    found = metrics.summarise([outputs([[1.0], [math.nan]], [[1], [0]])])
    assert found["loss"] == 1.0
    assert found["num_examples"] == 1


@pytest.mark.parametrize(
    ("loss", "ppl"), [(math.nan, math.nan), (math.inf, math.inf), (1e4, math.inf)]
)
def test_what_is_not_finite_stays_so_and_reaches_no_target(loss, ppl):
    found = metrics.summarise([outputs([[loss]], [[1]])])
    np.testing.assert_equal(found["ppl"], ppl)
    reached = DEFINITION.target.reached({"validation/ppl": found["ppl"]}, "validation")
    assert not reached


def test_a_split_of_nothing_has_no_number():
    found = metrics.summarise([])
    assert math.isnan(found["loss"]) and math.isnan(found["ppl"])
    assert found["num_examples"] == 0
