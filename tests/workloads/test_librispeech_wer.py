"""Word error rates: the published units with all their consequences, and the plain ones."""

import math
import random

import numpy as np
import pytest

pytest.importorskip("sentencepiece")
pytest.importorskip("rapidfuzz")

import librispeech_raw as made

from algoperf.datasets.librispeech.tokenizer import END, Tokenizer, train
from algoperf.errors import BadData
from algoperf.workloads._speech.wer import (
    printed_form,
    published_word_errors,
    summarise,
    word_errors,
)

WORDS = made.TEXT.split()


def edit_distance(a, b):
    """Written out, as the oracle."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def random_pairs(number, seed=0):
    rng = random.Random(seed)
    references = [
        " ".join(rng.choices(WORDS, k=rng.randint(1, 16))) for _ in range(number)
    ]
    hypotheses = []
    for reference in references:
        words = [w for w in reference.split() if rng.random() > 0.15]
        words = [rng.choice(WORDS) if rng.random() < 0.15 else w for w in words]
        words += rng.choices(WORDS, k=rng.choice([0, 0, 0, 1, 2]))
        hypotheses.append(" ".join(words))
    return hypotheses, references


def test_the_plain_rate_equals_jiwer_s():
    jiwer = pytest.importorskip("jiwer")
    hypotheses, references = random_pairs(300)
    found = word_errors(hypotheses, references).rate
    assert found == pytest.approx(jiwer.wer(references, hypotheses), rel=1e-12)


def test_the_published_rate_equals_jiwer_s_of_the_printed_forms():
    jiwer = pytest.importorskip("jiwer")
    hypotheses, references = random_pairs(300, seed=1)
    expected = jiwer.wer(
        [printed_form(text) for text in references],
        [printed_form(text) for text in hypotheses],
    )
    found = published_word_errors(hypotheses, references).rate
    assert found == pytest.approx(expected, rel=1e-12)


def test_errors_equal_an_edit_distance_written_out():
    hypotheses, references = random_pairs(200, seed=2)
    expected = sum(
        edit_distance(h.split(), r.split())
        for h, r in zip(hypotheses, references, strict=True)
    )
    assert word_errors(hypotheses, references).errors == expected


@pytest.mark.parametrize(
    ("hypothesis", "reference", "errors"),
    [("A B C", "A B C", 0), ("A X C", "A B C", 1), ("A C", "A B C", 1), ("", "A B", 2)],
)
def test_each_edit_costs_one(hypothesis, reference, errors):
    found = word_errors([hypothesis], [reference])
    assert (found.errors, found.words) == (errors, len(reference.split()))


def test_the_printed_form_is_tensorflow_s():
    assert printed_form("HE WAS") == "tf.Tensor(b'HE WAS', shape=(), dtype=string)"


def test_each_utterance_has_two_more_words_that_are_always_right():
    found = published_word_errors(["X Y Z"], ["A B C"])
    assert (found.errors, found.words) == (3, 3 + 2)


def test_first_and_last_word_carry_prefix_and_suffix():
    words = printed_form("HE WAS NOT").split()
    assert words[:3] == ["tf.Tensor(b'HE", "WAS", "NOT',"]
    assert words[3:] == ["shape=(),", "dtype=string)"]


def test_a_text_of_one_word_carries_both():
    assert printed_form("HE").split()[0] == "tf.Tensor(b'HE',"


def test_a_word_that_is_first_in_one_text_only_is_wrong():
    # Plainly one deletion; printed, "B" and "tf.Tensor(b'B" differ too.
    assert word_errors(["B C"], ["A B C"]).errors == 1
    assert published_word_errors(["B C"], ["A B C"]).errors == 2


def test_an_empty_reference_counts_three_words():
    assert published_word_errors([""], [""]).words == 3
    assert published_word_errors([""], [""]).errors == 0


def test_an_apostrophe_changes_the_quotes():
    assert printed_form("IT'S") == 'tf.Tensor(b"IT\'S", shape=(), dtype=string)'


def test_an_apostrophe_beside_a_double_quote_does_not_change_the_quotes():
    printed = printed_form('IT\'S "IT"')
    assert printed.startswith("tf.Tensor(b'IT\\'S \"IT\"',")


def test_an_apostrophe_in_one_text_only_makes_first_and_last_word_wrong():
    plain = word_errors(["HE IS HERE NOW"], ["HE'S IS HERE NOW"])
    assert plain.errors == 1
    middle = word_errors(["IT IT IS NOW"], ["IT IT'S IS NOW"]).errors
    printed = published_word_errors(["IT ITS IS NOW"], ["IT IT'S IS NOW"]).errors
    assert (middle, printed) == (1, 3)


def test_an_apostrophe_in_both_texts_does_no_harm():
    assert published_word_errors(["IT'S HERE"], ["IT'S THERE"]).errors == 1


@pytest.mark.parametrize(
    ("words", "utterances", "padding_rows", "published"),
    [
        (92_869, 5_348, 4, 103_577),  # validation, 8 devices
        (44_289, 2_472, 0, 49_233),  # test
        (181_340, 5_376, 0, 192_092),  # evaluated training utterances
    ],
)
def test_the_published_denominators_are_reconstructed(
    words, utterances, padding_rows, published
):
    # As many true words, spread over the utterances; the texts themselves do not matter.
    sizes = np.full(utterances, words // utterances)
    sizes[: words % utterances] += 1
    references = [" ".join(["WORD"] * size) for size in sizes] + [""] * padding_rows
    found = published_word_errors(references, references)
    assert (found.errors, found.words) == (0, published)
    assert word_errors(references, references).words == words


def test_without_any_word_the_rate_is_not_a_number():
    assert math.isnan(word_errors([], []).rate)


@pytest.fixture
def data_folder(tmp_path):
    texts = [made.text_of(number) for number in range(40)]
    (tmp_path / "tokenizer.model").write_bytes(train(texts))
    return tmp_path


def rows_of(tokenizer, texts, width=60):
    rows = np.zeros((len(texts), width), np.int32)
    for row, tokens in zip(rows, tokenizer.encode(texts), strict=True):
        row[: len(tokens)] = tokens
    return rows


def batch_of(data_folder, hypotheses, references, **changes):
    tokenizer = Tokenizer.open(data_folder / "tokenizer.model")
    number = len(references)
    targets = rows_of(tokenizer, references)
    arrays = {
        "decoded": rows_of(tokenizer, hypotheses),
        "targets": targets,
        "ctc_loss": np.full(number, 6.0, np.float32),
        "num_tokens": (targets > 0).sum(axis=1),
        "num_infeasible": np.zeros(number, np.int32),
        "weights": np.ones(number, np.float32),
    }
    return {**arrays, **changes}


def test_a_split_is_summed_over_its_batches(data_folder):
    batches = [
        batch_of(data_folder, ["THE FOX", "A DOG"], ["THE DOG", "A DOG"]),
        batch_of(data_folder, ["IT'S A DOG"], ["IT'S A LAZY DOG"]),
    ]
    found = summarise(iter(batches), data_folder=data_folder)
    tokens = sum(batch["num_tokens"].sum() for batch in batches)
    assert found == {
        "wer": 2 / (8 + 2 * 3),
        "wer_plain": 2 / 8,
        "ctc_loss": pytest.approx(18.0 / tokens),
        "num_infeasible": 0,
        "num_examples": 3,
    }


def test_padded_rows_count_nowhere(data_folder):
    texts = (["THE FOX", "A DOG"], ["THE DOG", "A DOG"])
    expected = summarise([batch_of(data_folder, *texts)], data_folder=data_folder)
    padded = batch_of(
        data_folder,
        ["THE FOX", "A DOG", "JUNK"],
        ["THE DOG", "A DOG", ""],
        weights=np.array([1, 1, 0], np.float32),
        ctc_loss=np.array([6, 6, np.nan], np.float32),
        num_infeasible=np.array([0, 0, 1]),
    )
    assert summarise([padded], data_folder=data_folder) == expected


def test_an_infeasible_utterance_counts_as_words_but_not_in_the_loss(data_folder):
    batch = batch_of(
        data_folder,
        ["THE DOG", ""],
        ["THE DOG", "A DOG"],
        ctc_loss=np.array([6, np.inf], np.float32),
        num_infeasible=np.array([0, 1]),
    )
    found = summarise([batch], data_folder=data_folder)
    assert found["ctc_loss"] == pytest.approx(6 / batch["num_tokens"][0])
    assert (found["num_infeasible"], found["num_examples"]) == (1, 2)
    assert found["wer_plain"] == 2 / 4


def test_a_loss_that_is_not_finite_stays_so(data_folder):
    batch = batch_of(data_folder, ["A"], ["A"], ctc_loss=np.array([np.nan]))
    assert math.isnan(summarise([batch], data_folder=data_folder)["ctc_loss"])


def test_nothing_decoded_deletes_every_word(data_folder):
    nothing = np.zeros((1, 9), np.int32)
    batch = batch_of(data_folder, ["A"], ["THE LAZY DOG"], decoded=nothing)
    found = summarise([batch], data_folder=data_folder)
    assert found["wer_plain"] == 1
    assert found["wer"] == 3 / 5


def test_end_and_start_marks_become_nothing(data_folder):
    tokenizer = Tokenizer.open(data_folder / "tokenizer.model")
    tokens = tokenizer.encode(["THE LAZY DOG"])[0]
    assert tokenizer.decode([[1, *tokens, END, END]]) == ["THE LAZY DOG"]


def test_a_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(BadData, match=r"There is no file .*tokenizer\.model"):
        summarise([], data_folder=tmp_path)
