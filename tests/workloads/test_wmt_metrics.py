"""The wmt workload's metrics: text from tokens, BLEU, means over tokens."""

import itertools
import math
import random
import re
from collections import Counter

import numpy as np
import pytest

from algoperf.datasets.wmt import prepare, reader
from algoperf.definition import Splits
from algoperf.errors import MissingDependency
from algoperf.prepared import Preparation, PreparedData
from algoperf.runner.evaluation import summary_of
from algoperf.workloads.wmt import metrics

SPLITS = Splits(train=3_600, eval_train=128, validation=128, test=128)
LENGTH = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped pairs, prepared."""
    pytest.importorskip("sentencepiece")
    pytest.importorskip("sacrebleu")
    root = tmp_path_factory.mktemp("wmt")
    prepare.expand_embedded(root / "raw")
    with Preparation(
        root / "out", dataset="wmt", format_version=reader.FORMAT_VERSION
    ) as preparation:
        prepare.prepare(root / "raw", preparation, splits=SPLITS)
    return root / "out"


@pytest.fixture(scope="module")
def tokenizer(folder):
    return reader.load_tokenizer(PreparedData.open(folder, dataset="wmt"))


@pytest.fixture(scope="module")
def summarise(folder):
    return metrics.summariser(folder)


def rows(tokenizer, sentences, end=True):
    """int32 [sentences, LENGTH], padded with 0."""
    found = np.zeros((len(sentences), LENGTH), np.int32)
    for row, text in zip(found, sentences, strict=True):
        tokens = tokenizer.encode(text) + [2] * end
        row[: len(tokens)] = tokens
    return found


def batch(tokenizer, hypotheses, references, **changes):
    """Outputs of a batch; each sentence has 4 tokens, 3 of them right, and loss 6."""
    number = len(references)
    return {
        "hypothesis": rows(tokenizer, hypotheses),
        "reference": rows(tokenizer, references),
        "per_example_loss": np.full(number, 6.0, np.float32),
        "num_tokens": np.full(number, 4.0, np.float32),
        "num_correct": np.full(number, 3.0, np.float32),
        "weights": np.ones(number, np.float32),
        **changes,
    }


# BLEU, by the words of the published description.


def tokenise_13a(line):
    line = line.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in (
        ("&quot;", '"'),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ):
        line = line.replace(entity, character)
    line = f" {line} "
    line = re.sub(r'([{|}~\[\\\]^_`!"#$%&()*+:;<=>?@/])', r" \1 ", line)
    line = re.sub(r"([^0-9])([.,])", r"\1 \2 ", line)
    line = re.sub(r"([.,])([^0-9])", r" \1 \2", line)
    line = re.sub(r"([0-9])(-)", r"\1 \2 ", line)
    return line.split()


def published_bleu(hypotheses, references):
    correct, total, sizes = np.zeros(4), np.zeros(4), [0, 0]
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        sides = tokenise_13a(hypothesis), tokenise_13a(reference)
        sizes = [size + len(side) for size, side in zip(sizes, sides, strict=True)]
        for n in range(4):
            ours, theirs = (
                Counter(tuple(side[i : i + n + 1]) for i in range(len(side) - n))
                for side in sides
            )
            correct[n] += (ours & theirs).total()
            total[n] += ours.total()
    logs, zeros = [], 0
    for n in range(4):
        if not total[n]:
            return 0.0  # this precision, and so the product, stays zero
        if not correct[n]:
            zeros += 1
            precision = 100 / (2**zeros * total[n])
        else:
            precision = 100 * correct[n] / total[n]
        logs.append(math.log(precision))
    shortness = math.exp(1 - sizes[1] / sizes[0]) if sizes[0] < sizes[1] else 1.0
    return shortness * math.exp(sum(logs) / 4)


def altered(line, rng):
    """The line with some words dropped, doubled or swapped."""
    words = line.split()
    for _ in range(rng.randrange(4)):
        place = rng.randrange(len(words))
        words[place : place + 1] = rng.choice(
            [[], [words[place]] * 2, ["Wort,", "x-3."]]
        )
        words = words or ["a"]
    return " ".join(words)


SENTENCES = [
    'could not open file "%s": %m',
    "The value 3,141.59 (about pi) isn't <b>0</b>; see 10-20 &amp; more - or less.",
    "Don't use f(x)=x_1^2/3, e.g. [a|b]; it's $5.00!",
    "a",
    "one two three four five six seven",
    "well-known end of line, 5.",
]


@pytest.mark.parametrize("seed", range(8))
def test_bleu_is_the_published_one_on_altered_sentences(seed):
    pytest.importorskip("sacrebleu")
    rng = random.Random(seed)
    references = [line for line in SENTENCES for _ in range(1 + seed)]
    hypotheses = [altered(line, rng) for line in references]
    found = metrics._scorer().corpus_score(hypotheses, [references]).score
    assert found == pytest.approx(published_bleu(hypotheses, references), rel=1e-9)


@pytest.mark.parametrize(
    ("hypothesis", "reference"),
    [
        ("a b c d", "a b x d"),  # two precisions of zero
        ("a c", "a b"),  # no trigram at all: 0
        ("a b c d", "a b c d e f"),  # brevity penalty
        ("a b c d e f g", "a b c d"),
        ("The End a b c", "the end a b c"),  # case counts
    ],
)
def test_bleu_is_the_published_one_where_counts_are_zero(hypothesis, reference):
    pytest.importorskip("sacrebleu")
    found = metrics._scorer().corpus_score([hypothesis], [[reference]]).score
    assert found == pytest.approx(published_bleu([hypothesis], [reference]), rel=1e-9)


def test_bleu_of_real_sentences_is_sacrebleus(summarise, tokenizer, folder):
    import sacrebleu

    pairs = reader.read_split(PreparedData.open(folder, dataset="wmt"), "test")
    cuts = pairs.targets.offsets
    references = [
        tokenizer.decode(pairs.targets.tokens[a:b].tolist())
        for a, b in itertools.pairwise(cuts)
    ]
    rng = random.Random(0)
    hypotheses = [altered(line, rng) for line in references]
    # As text it has been through the tokenizer once.
    hypotheses = [tokenizer.decode(tokenizer.encode(line)) for line in hypotheses]
    found = summarise([batch(tokenizer, hypotheses, references)])
    expected = sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert found["bleu"] == pytest.approx(expected, rel=1e-12)
    assert found["bleu"] == pytest.approx(published_bleu(hypotheses, references))
    assert 20 < found["bleu"] < 90


def test_bleu_of_the_references_themselves_is_100(summarise, tokenizer):
    found = summarise([batch(tokenizer, SENTENCES[:1], SENTENCES[:1])])
    assert found["bleu"] == pytest.approx(100)


def test_bleu_counts_over_the_split_not_by_batch(summarise, tokenizer):
    pairs = [("a b c d e", "a b c d f"), ("one two", "one three two four")]
    whole = batch(tokenizer, *map(list, zip(*pairs, strict=True)))
    parts = [batch(tokenizer, [h], [r]) for h, r in pairs]
    assert summarise(parts) == summarise([whole])


def test_loss_and_accuracy_are_means_over_all_tokens(summarise, tokenizer):
    small = batch(tokenizer, ["a"], ["a"])
    large = batch(
        tokenizer,
        ["a"],
        ["a"],
        num_tokens=np.array([12.0]),
        num_correct=np.array([1.0]),
        per_example_loss=np.array([34.0]),
    )
    found = summarise([small, large])
    assert found["loss"] == pytest.approx((6 + 34) / 16)
    assert found["accuracy"] == pytest.approx((3 + 1) / 16)
    assert found["num_examples"] == 2


def test_padding_changes_no_metric_whatever_it_holds(summarise, tokenizer):
    real = batch(tokenizer, ["a b c d"], ["a b c e"])
    padded = batch(
        tokenizer,
        ["a b c d", "noise"],
        ["a b c e", ""],
        per_example_loss=np.array([6.0, math.nan]),
        weights=np.array([1.0, 0.0]),
    )
    padded["reference"][1] = 0
    assert summarise([padded]) == summarise([real])


def test_a_sentence_without_weight_is_counted_but_not_scored(summarise, tokenizer):
    scored = summarise([batch(tokenizer, ["a b c d"], ["a b c e"])])
    both = batch(
        tokenizer,
        ["a b c d", ""],
        ["a b c e", ""],  # the end token alone
        weights=np.array([1.0, 0.0]),
    )
    assert summarise([both]) == {**scored, "num_examples": 2.0}


def test_metrics_of_no_sentence_are_nan(summarise, tokenizer):
    nothing = batch(tokenizer, ["a"], ["a"], weights=np.zeros(1))
    found = summarise([nothing])
    assert all(math.isnan(found[key]) for key in ("bleu", "loss", "accuracy"))


def test_a_loss_that_is_not_finite_stays_so(summarise, tokenizer):
    bad = batch(tokenizer, ["a"], ["a"], per_example_loss=np.array([math.nan]))
    assert math.isnan(summarise([bad])["loss"])


def test_what_follows_the_end_is_not_text(tokenizer):
    tokens = rows(tokenizer, ["end of line"])
    expected = metrics.texts(tokens, tokenizer)
    used = int((tokens > 0).sum())
    tokens[0, used : used + 3] = tokens[0, :3]
    assert metrics.texts(tokens, tokenizer) == expected == ["end of line"]


def test_a_translation_without_an_end_is_whole(tokenizer):
    tokens = rows(tokenizer, ["end of line"], end=False)
    assert metrics.texts(tokens, tokenizer) == ["end of line"]
    tokens = np.tile(tokenizer.encode("file"), (1, 70))[:, :LENGTH]
    assert metrics.texts(tokens, tokenizer)[0].count("file") > 10


def test_an_empty_translation_is_an_empty_sentence(tokenizer):
    tokens = np.zeros((2, LENGTH), np.int32)
    tokens[0, 0] = 2
    assert metrics.texts(tokens, tokenizer) == ["", ""]


def test_characters_without_a_token_are_altered_in_references_too(summarise, tokenizer):
    reference = "the Ω file ㏂ is open"
    tokens = rows(tokenizer, [reference])
    assert metrics.texts(tokens, tokenizer) != [reference]
    outputs = batch(tokenizer, [reference], [reference])
    assert summarise([outputs])["bleu"] == pytest.approx(100)


def test_the_harness_gives_the_metrics_their_data(folder, tokenizer):
    outputs = [batch(tokenizer, ["end of the line"], ["end of the line"])]
    assert summary_of(metrics, folder)(outputs)["bleu"] == pytest.approx(100)


def test_a_missing_package_is_named(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(MissingDependency, match=r"'sacrebleu'.*algoperf\[data\]"):
        metrics.summariser(folder)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(MissingDependency, match=r"'sentencepiece'.*algoperf\[data\]"):
        metrics.summariser(folder)
