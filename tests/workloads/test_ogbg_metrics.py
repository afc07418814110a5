"""Metrics of the ogbg workload: mean average precision beside scikit-learn's."""

import math

import numpy as np
import pytest
from ogbg_graphs import molecules, prepare_mini

from algoperf.datasets.ogbg import reader
from algoperf.workloads.ogbg import metrics


def average_precisions(scores, labels, measured):
    keys = metrics.sort_keys(scores, labels, measured)
    return metrics.average_precisions([np.ascontiguousarray(keys.T)])


def random_scores(rows=300, tasks=12, digits=2):
    """Scores with many ties, labels, and which were measured."""
    rng = np.random.default_rng(rows)
    scores = np.round(rng.random((rows, tasks)), digits).astype(np.float32)
    rates = np.linspace(0.01, 0.9, tasks)
    return scores, rng.random((rows, tasks)) < rates, rng.random((rows, tasks)) < 0.7


@pytest.mark.parametrize("digits", [0, 1, 2, 7])
def test_average_precision_is_that_of_scikit_learn(digits):
    peer = pytest.importorskip("sklearn.metrics")
    scores, labels, measured = random_scores(digits=digits)
    found = average_precisions(scores, labels, measured)
    for task, value in enumerate(found):
        rows = measured[:, task]
        expected = peer.average_precision_score(labels[rows, task], scores[rows, task])
        assert value == pytest.approx(expected, abs=1e-9)


def test_average_precision_of_real_labels_is_that_of_scikit_learn(tmp_path):
    peer = pytest.importorskip("sklearn.metrics")
    train = molecules(prepare_mini(tmp_path), "train")
    labels, measured = train.labels == 1, train.labels != reader.MISSING
    scores = metrics.sigmoid(np.random.default_rng(0).normal(0, 9, labels.shape))
    found = average_precisions(scores.astype(np.float32), labels, measured)
    is_counted = ~np.isnan(found)
    assert is_counted.sum() > 110
    for task in np.flatnonzero(is_counted):
        rows = measured[:, task]
        expected = peer.average_precision_score(
            labels[rows, task], scores[rows, task].astype(np.float32)
        )
        assert found[task] == pytest.approx(expected, abs=1e-9)


def test_average_precision_by_hand():
    scores = np.array([[0.9], [0.8], [0.8], [0.1]], np.float32)
    labels = np.array([[False], [True], [False], [True]])
    found = average_precisions(scores, labels, np.ones((4, 1), bool))
    # Recall 1/2 at three rows, then 1 at four.
    assert found == pytest.approx([0.5 * 1 / 3 + 0.5 * 2 / 4])


def test_a_task_counts_only_with_both_classes_among_measured_labels():
    labels = np.array([[True, False, True], [True, False, False]])
    measured = np.array([[True, True, True], [True, True, False]])
    found = average_precisions(np.full((2, 3), 0.5, np.float32), labels, measured)
    assert np.isnan(found).all()


def test_probabilities_saturate_as_the_published_ones():
    found = metrics.sigmoid(np.array([-200, -1, 0, 18, 40, 200], np.float32))
    assert found.dtype == np.float32
    assert found[3] == found[4] == found[5] == 1
    assert found[0] == 0
    np.testing.assert_allclose(found[1:3], [1 / (1 + math.e), 0.5], rtol=1e-6)


def outputs(logits, targets, weights, is_graph=None, loss=None):
    batch = {
        "targets": np.array(targets, np.float32),
        "weights": np.array(weights, np.float32),
        "is_graph": np.ones(len(logits), bool)
        if is_graph is None
        else np.array(is_graph),
    }
    logits = np.array(logits, np.float32)
    loss = np.ones_like(logits) if loss is None else np.array(loss)
    return metrics.outputs(np, logits, batch, loss * batch["weights"])


def test_metrics_are_over_the_measured_labels_of_all_batches():
    batches = [
        outputs([[2.0, -1.0], [-1.0, 1.0]], [[1, 0], [1, 0]], [[1, 1], [1, 0]]),
        outputs([[0.5, 3.0]], [[0, 1]], [[1, 1]], loss=[[4.0, 1.0]]),
    ]
    assert metrics.summarise(batches) == {
        "mean_average_precision": pytest.approx(((1 / 2 + 1 / 2 * 2 / 3) + 1) / 2),
        "accuracy": 3 / 5,
        "loss": 8 / 5,
        "num_examples": 3.0,
    }


def test_a_graph_without_any_measured_label_counts_as_an_example():
    batch = outputs([[1.0], [2.0]], [[0], [0]], [[0], [1]], is_graph=[True, True])
    assert metrics.summarise([batch])["num_examples"] == 2


def test_padding_changes_no_metric_whatever_it_holds():
    logits, targets, weights = [[1.0], [-2.0]], [[1], [0]], [[1], [1]]
    real = metrics.summarise([outputs(logits, targets, weights)])
    padded = outputs(
        [*logits, [math.nan]], [*targets, [1]], [*weights, [1]], [True, True, False]
    )
    assert metrics.summarise([padded]) == real


def test_logits_that_are_not_numbers_give_no_numbers():
    batch = outputs(
        [[math.nan], [1.0]], [[1], [0]], [[1], [1]], loss=[[math.nan], [1.0]]
    )
    found = metrics.summarise([batch])
    for name in ("mean_average_precision", "accuracy", "loss"):
        assert math.isnan(found[name])
