"""DeepOBS's recurrent network: rows of text that go on, and a state that is carried and reset."""

from pathlib import Path

import numpy as np

from algoperf import spec
from algoperf.pipeline import DataRequest
from algoperf.runner.randomness import key_numbers
from algoperf.workloads.deepobs.data_characters import TextBatches
from algoperf.workloads.deepobs.inputs import TextConfig
from tests.workloads.test_deepobs import bound, each_framework, load


def batches(split="train", num_sequences=11, batch_size=2, length=5):
    size = num_sequences
    splits = type("Splits", (), {"size": staticmethod(lambda split: size)})
    config = TextConfig(sequence_length=length)
    request = DataRequest(Path(), split, splits, batch_size, 0, config, drop_last=True)
    return TextBatches(request, np.arange(num_sequences * length + 1))


def test_each_row_goes_on_where_it_ended_in_the_batch_before():
    found = batches()
    assert found.of_pass == 5  # one sequence is left out
    rows = np.concatenate([found.batch(i)["inputs"] for i in range(5)], axis=1)
    np.testing.assert_array_equal(rows, [np.arange(25), np.arange(25, 50)])
    last = found.batch(4)
    np.testing.assert_array_equal(last["targets"], last["inputs"] + 1)


def test_only_the_first_batch_of_each_pass_starts_the_text():
    found = batches()
    starts = [found.batch(index)["starts"].tolist() for index in range(11)]
    is_start = [index % 5 == 0 for index in range(11)]
    assert starts == [[float(start)] * 2 for start in is_start]
    np.testing.assert_array_equal(found.batch(5)["inputs"], found.batch(0)["inputs"])


def test_evaluation_is_one_pass():
    found = batches("test")
    assert found.num_batches == 5
    assert found.batch(0)["weights"].tolist() == [1, 1]


@each_framework
def test_the_state_is_carried_and_reset_where_the_text_starts(framework):
    backend = load(framework)
    workload = bound("tolstoi_char_rnn", backend)
    key = backend.keys(key_numbers(1, "init"))[0]
    params, new = workload.init_model_fn(key)
    random = np.random.default_rng(0)
    text = random.integers(0, 83, (2, 2, 50)).astype(np.int32)

    def logits(number, state, starts=0.0):
        batch = {"inputs": text[number], "targets": text[number]}
        batch["starts"] = np.full(2, starts, np.float32)
        placed = backend.place(batch)
        mode = spec.ForwardPassMode.EVAL
        found, state = workload.model_fn(params, placed, state, mode, key, False, 0.0)
        return np.asarray(getattr(found, "detach", lambda: found)()), state

    fresh, _ = logits(1, new)
    _, carried = logits(0, new)
    going_on, _ = logits(1, carried)
    assert np.abs(going_on - fresh).max() > 1e-3
    reset, _ = logits(1, carried, starts=1.0)
    np.testing.assert_array_equal(reset, fresh)
    again, _ = logits(1, carried)  # the state is a value: nothing has changed it
    np.testing.assert_array_equal(again, going_on)
