"""Batches of speech: the published form, padding, trimming."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("soundfile")
pytest.importorskip("sentencepiece")

import librispeech_raw as made

from algoperf.datasets.librispeech import reader
from algoperf.datasets.librispeech.tokenizer import SMALL_VOCABULARY_SIZE
from algoperf.errors import BadData
from algoperf.pipeline import DataRequest
from algoperf.prepared import PreparedData
from algoperf.workloads._speech.config import DataConfig
from algoperf.workloads._speech.data import open_batches

CONFIG = DataConfig(max_samples=6_400, max_tokens=64, vocab_size=SMALL_VOCABULARY_SIZE)
TRIMMED = dataclasses.replace(CONFIG, trim_padding=True)
FRAME_SAMPLES, FRAME_STEP = 401, 160  # of the published front end


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("librispeech")
    sets = {name: made.members_of(name, kept) for name, kept in made.KEPT.items()}
    return made.run(made.write_raw(tmp / "raw", sets), tmp / "out").folder


@pytest.fixture
def opened(folder):
    def open_split(split="train", **changes):
        values = {
            "folder": folder,
            "split": split,
            "splits": made.SPLITS,
            "batch_size": 4,
            "seed": 3,
            "config": CONFIG,
        }
        return open_batches(DataRequest(**{**values, **changes}))

    return open_split


@pytest.fixture
def utterances(folder):
    return reader.read_split(
        PreparedData.open(folder, dataset="librispeech"), "validation"
    )


def test_the_default_shapes_are_the_published_ones():
    assert DataConfig() == DataConfig(320_000, 256, 1_024, trim_padding=False)


def test_inputs_and_targets_are_pairs_of_values_and_paddings(opened):
    batch = opened().batch(0)
    assert batch.keys() == {"inputs", "targets"}
    for pair, width, dtype in (
        (batch["inputs"], 6_400, np.float32),
        (batch["targets"], 64, np.int32),
    ):
        assert isinstance(pair, tuple)
        values, paddings = pair
        assert values.shape == paddings.shape == (4, width)
        assert (values.dtype, paddings.dtype) == (dtype, np.float32)


def test_audio_has_its_16_bit_values_unscaled_then_zeros(opened, utterances):
    batch = opened("validation").batch(0)
    audio, paddings = batch["inputs"]
    for row in range(4):
        samples = utterances.samples(row)
        np.testing.assert_array_equal(audio[row, : len(samples)], samples)
        assert not audio[row, len(samples) :].any()
        assert not paddings[row, : len(samples)].any()
        assert paddings[row, len(samples) :].all()


def test_tokens_are_followed_by_zeros_and_paddings(opened, utterances):
    tokens, paddings = opened("validation").batch(0)["targets"]
    for row in range(4):
        expected = utterances.token_ids(row)
        np.testing.assert_array_equal(tokens[row, : len(expected)], expected)
        assert not tokens[row, len(expected) :].any()
        assert (paddings[row] == (np.arange(64) >= len(expected))).all()


def test_padded_rows_are_all_padding_and_have_no_weight(opened):
    evaluation = opened("validation")
    assert evaluation.num_batches == 2
    batch = evaluation.batch(1)
    assert batch["weights"].tolist() == [1, 1, 0, 0]
    for values, paddings in (batch["inputs"], batch["targets"]):
        assert not values[2:].any()
        assert (paddings[2:] == 1).all()
        assert not (paddings[:2] == 1).all(axis=1).any()


def test_evaluation_reads_every_utterance_once_in_order(opened, utterances):
    lengths = []
    for index in range(2):
        batch = opened("validation").batch(index)
        lengths += (batch["inputs"][1][batch["weights"] > 0] == 0).sum(1).tolist()
    assert lengths == utterances.index["num_samples"].tolist()


def test_an_epoch_reads_every_training_utterance_once(opened, folder):
    data = PreparedData.open(folder, dataset="librispeech")
    expected = sorted(reader.read_split(data, "train").index["num_samples"].tolist())
    batches = [opened().batch(i) for i in range(5)]
    found = [(b["inputs"][1] == 0).sum(axis=1) for b in batches]
    assert sorted(np.concatenate(found).tolist()) == expected


def test_eval_train_is_the_same_random_choice_for_every_seed(opened):
    first, other = (opened("eval_train", seed=s).batch(0) for s in (1, 2))
    np.testing.assert_equal(first, other)
    lengths = (first["inputs"][1] == 0).sum(axis=1)[first["weights"] > 0].tolist()
    assert len(set(lengths)) == len(lengths)
    assert lengths != sorted(lengths)


@pytest.mark.parametrize("config", [CONFIG, TRIMMED], ids=["fixed", "trimmed"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_shards_are_the_parts_of_the_global_batch(opened, split, config):
    whole = opened(split, config=config).batch(1)
    parts = [
        opened(split, config=config, shard=i, num_shards=4).batch(1) for i in range(4)
    ]
    for name in ("inputs", "targets"):
        for place in range(2):
            joined = np.concatenate([part[name][place] for part in parts])
            np.testing.assert_array_equal(joined, whole[name][place])


@pytest.mark.parametrize("split", ["train", "validation"])
def test_trimming_removes_nothing_but_padding(opened, split):
    for index in range(2):
        full = opened(split).batch(index)
        trimmed = opened(split, config=TRIMMED).batch(index)
        length = trimmed["inputs"][0].shape[1]
        assert length < 6_400
        for place in range(2):
            np.testing.assert_array_equal(
                trimmed["inputs"][place], full["inputs"][place][:, :length]
            )
            np.testing.assert_array_equal(
                trimmed["targets"][place], full["targets"][place]
            )
        assert not full["inputs"][0][:, length:].any()
        assert (full["inputs"][1][:, length:] == 1).all()


def num_frames(num_samples):
    return (num_samples - FRAME_SAMPLES) // FRAME_STEP + 1


@pytest.mark.parametrize("max_samples", [320_000, 40_000, 6_400])
def test_trimmed_lengths_are_few_and_align_after_subsampling(max_samples):
    lengths = DataConfig(max_samples=max_samples).lengths()
    assert 2 <= len(lengths) <= 8
    assert lengths[-1] == max_samples
    # Two convolutions of stride 2 with "same" padding pad differently otherwise.
    assert {num_frames(n) % 4 for n in lengths} == {num_frames(max_samples) % 4}


@pytest.mark.parametrize("max_samples", [320_000, 40_000, 6_400])
def test_a_trimmed_length_keeps_every_valid_frame_and_two_behind_it(max_samples):
    config = DataConfig(max_samples=max_samples)
    for samples in (1, 401, *range(159, max_samples, 997), max_samples):
        length = config.length_for(samples)
        valid = -(-samples // FRAME_STEP)
        assert num_frames(length) >= min(num_frames(max_samples), valid + 2)
        assert length >= samples


def test_a_trimmed_length_is_the_smallest_that_will_do():
    config = DataConfig()
    for samples in range(1, 320_000, 9_973):
        length = config.length_for(samples)
        valid = -(-samples // FRAME_STEP)
        smaller = [n for n in config.lengths() if n < length]
        assert all(num_frames(n) < valid + 2 for n in smaller)


@pytest.mark.parametrize(
    "change", [{"max_samples": 500}, {"max_tokens": 5}, {"vocab_size": 1_024}]
)
def test_data_that_do_not_fit_the_workload_are_refused(opened, change):
    config = dataclasses.replace(CONFIG, **change)
    with pytest.raises(BadData, match="It is not this workload's data"):
        opened(config=config)
