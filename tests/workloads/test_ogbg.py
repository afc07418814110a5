"""The ogbg workload: dynamic batching, metrics, and one model in two frameworks."""

import dataclasses
import math
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from algoperf import backend as backends
from algoperf import pipeline, registry, rulesets, spec
from algoperf.datasets.ogbg import prepare, reader
from algoperf.definition import Split
from algoperf.errors import BadData, BadSettings
from algoperf.prepared import Preparation, PreparedData
from algoperf.workload import Workload
from algoperf.workloads.ogbg import data, metrics
from algoperf.workloads.ogbg.definition import DEFINITION, DataConfig, ModelConfig
from algoperf.workloads.ogbg.packing import Budget, Plan

MINI = registry.definition("ogbg_mini")
PARTS = DEFINITION.data.parts
TINY = ModelConfig(latent=6, hidden=(5, 7), steps=2, tasks=128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped molecules, prepared."""
    path = tmp_path_factory.mktemp("ogbg")
    prepare.expand_embedded(path / "raw")
    with Preparation(
        path / "ogbg_mini", dataset="ogbg", format_version=reader.FORMAT_VERSION
    ) as preparation:
        prepare.prepare(path / "raw", preparation, splits=MINI.splits)
    return path / "ogbg_mini"


@pytest.fixture(scope="module")
def train(folder):
    return reader.read_split(PreparedData.open(folder, dataset="ogbg"), "train")


def open_batches(folder, split: Split = "train", **changes) -> pipeline.Batches:
    request = pipeline.DataRequest(
        folder, split, MINI.splits, batch_size=128, seed=5, config=MINI.data
    )
    return data.open_batches(dataclasses.replace(request, **changes))


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_equal(a[key], b[key])


def joined(parts):
    return {
        key: tuple(
            map(np.concatenate, zip(*(part[key] for part in parts), strict=True))
        )
        if key == "inputs"
        else np.concatenate([part[key] for part in parts])
        for key in parts[0]
    }


# Definition


def test_published_numbers():
    by_ruleset = {
        name: (li.budget_seconds, li.step_hint)
        for name, li in DEFINITION.limits.items()
    }
    assert by_ruleset == {"v0.5": (18_477, 80_000), "v0.6": (12_011, 52_000)}
    assert (DEFINITION.target.validation, DEFINITION.target.test) == (0.28098, 0.268729)
    assert dataclasses.astuple(DEFINITION.splits) == (350_343, 43_793, 43_793, 43_793)
    assert (DEFINITION.eval_batch_size, DEFINITION.eval_period_seconds) == (32_768, 240)
    assert DEFINITION.default_dropout_rate == 0.1
    assert DEFINITION.loss_type is spec.LossType.SIGMOID_CROSS_ENTROPY


@pytest.mark.parametrize(
    ("name", "validation", "test", "model"),
    [
        ("gelu", 0.27771, 0.262926, ModelConfig(activation="gelu")),
        ("silu", 0.282178, 0.272144, ModelConfig(activation="silu")),
        ("model_size", 0.269446, 0.253051, ModelConfig(128, (256, 256), 3)),
    ],
)
def test_variants_are_the_published_ones(name, validation, test, model):
    variant = registry.definition(f"ogbg_{name}")
    assert (variant.target.validation, variant.target.test) == (validation, test)
    assert variant.model == model
    assert variant.limits == DEFINITION.limits


@pytest.mark.parametrize(
    ("batch_size", "budget"),
    [(512, Budget(1_665, 3_584, 65)), (32_768, Budget(106_497, 229_376, 4_097))],
)
def test_budgets_are_those_of_one_of_eight_published_devices(batch_size, budget):
    assert Budget.of(batch_size, DEFINITION.data) == budget


# Packing


def plan(num_nodes, num_edges, batch_size, order=None, config=None):
    return Plan(
        np.array(num_nodes),
        np.array(num_edges),
        batch_size=batch_size,
        config=config or DataConfig(),
        order=order,
    )


def filled_one_by_one(sizes, budget, limits):
    """The rule of dynamic batching in plain words: an oracle for `Plan`."""
    starts, position = [0], 0
    while position < len(sizes):
        nodes = edges = graphs = 0
        limit = limits[(len(starts) - 1) % len(limits)]
        while position < len(sizes) and graphs < limit:
            more_nodes, more_edges = sizes[position]
            if (
                nodes + more_nodes > budget.nodes - 1
                or edges + more_edges > budget.edges
            ):
                break
            nodes, edges, graphs = nodes + more_nodes, edges + more_edges, graphs + 1
            position += 1
        starts.append(position)
    return starts


@pytest.mark.parametrize("mean_nodes", [13, 26, 30])
def test_parts_are_filled_one_after_the_other_as_long_as_a_graph_fits(mean_nodes):
    rng = np.random.default_rng(mean_nodes)
    nodes = rng.integers(1, 2 * mean_nodes, 1_000)
    edges = 2 * (nodes + rng.integers(-1, 4, 1_000)).clip(0)
    made = plan(nodes, edges, batch_size=64)
    sizes = list(zip(nodes.tolist(), edges.tolist(), strict=True))
    expected = filled_one_by_one(sizes, made.budget, [8] * 8)
    starts = made.starts(0, made.num_batches * PARTS)
    np.testing.assert_array_equal(starts[: len(expected)], expected)
    assert (starts[len(expected) :] == 1_000).all()


def test_a_batch_size_that_the_parts_do_not_divide_is_the_limit_of_all_of_them():
    made = plan([1] * 100, [0] * 100, batch_size=13)
    assert np.diff(made.starts(0, PARTS)).tolist() == [1, 2, 1, 2, 2, 1, 2, 2]
    assert made.num_batches == 8


def test_the_stream_of_training_goes_on_over_the_end_of_an_epoch():
    rng = np.random.default_rng(0)
    nodes = rng.integers(1, 40, 50)
    orders = [np.random.default_rng(e).permutation(50) for e in range(12)]
    made = plan(nodes, 2 * nodes, 16, order=lambda epoch: orders[epoch])
    stream = np.concatenate(orders[:10])
    sizes = [(n, 2 * n) for n in nodes[stream].tolist()]
    expected = filled_one_by_one(sizes, made.budget, [2] * 8)[:-1]
    np.testing.assert_array_equal(made.starts(0, len(expected) - 1), expected)
    np.testing.assert_array_equal(made.graphs(37, 261), stream[37:261])


def test_a_plan_does_not_depend_on_the_order_of_questions():
    nodes = np.random.default_rng(0).integers(1, 40, 50)

    def made():
        return plan(
            nodes, 2 * nodes, 16, order=lambda epoch: np.roll(np.arange(50), epoch)
        )

    late, early = made(), made()
    last = late.starts(900, 950)
    for first in range(0, 950, 7):
        early.starts(first, first + 7)
    np.testing.assert_array_equal(early.starts(900, 950), last)


@pytest.mark.parametrize(("nodes", "edges"), [(53, 4), (4, 114)])
def test_a_graph_larger_than_the_budget_is_an_error_that_names_the_least_batch_size(
    nodes, edges
):
    message = "Graph 1 has (53 nodes|114 edges).*batch of 16 .* at least 24"
    with pytest.raises(BadSettings, match=message):
        plan([5, nodes, 6], [8, edges, 8], batch_size=16)


# Batches


def test_a_training_batch_has_the_documented_arrays(folder):
    batch = open_batches(folder).batch(0)
    assert set(batch) == {"inputs", "targets", "weights"}
    shapes = {
        name: (a.shape, a.dtype.name) for name, a in batch["inputs"]._asdict().items()
    }
    assert shapes == {
        "nodes": ((8, 26 * 16 + 1, 9), "float32"),
        "edges": ((8, 56 * 16, 3), "float32"),
        "receivers": ((8, 56 * 16), "int32"),
        "senders": ((8, 56 * 16), "int32"),
        "globals": ((8, 17, 128), "float32"),
        "n_node": ((8, 17), "int32"),
        "n_edge": ((8, 17), "int32"),
    }
    for key in ("targets", "weights"):
        assert batch[key].shape == (8 * 17, 128)
        assert batch[key].dtype == np.float32


def graphs_of(batch):
    """The real graphs of a batch: (nodes, edges, senders, receivers) each."""
    x = batch["inputs"]
    for part in range(len(x.nodes)):
        node = edge = 0
        last = int(np.flatnonzero(x.n_node[part])[-1])  # the first padding graph
        for graph in range(last):
            rows = slice(node, node + x.n_node[part, graph])
            edges = slice(edge, edge + x.n_edge[part, graph])
            yield (
                x.nodes[part, rows],
                x.edges[part, edges],
                x.senders[part, edges] - node,
                x.receivers[part, edges] - node,
            )
            node, edge = rows.stop, edges.stop


@pytest.mark.parametrize("split", ["train", "eval_train", "validation", "test"])
def test_a_batch_holds_the_prepared_graphs_in_the_order_of_the_stream(folder, split):
    stored = reader.read_split(PreparedData.open(folder, dataset="ogbg"), split)
    order = {
        "train": pipeline.epoch_order(3_200, 5, 0),
        "eval_train": data.eval_train_graphs(3_200, 800),
    }.get(split, np.arange(800))
    batch = open_batches(folder, split).batch(0)
    found = list(graphs_of(batch))
    assert len(found) > 100
    for (nodes, edges, senders, receivers), graph in zip(found, order, strict=False):
        rows = slice(*stored.node_offsets[graph : graph + 2])
        packed = stored.edges[slice(*stored.edge_offsets[graph : graph + 2])]
        np.testing.assert_array_equal(nodes, stored.nodes[rows])
        np.testing.assert_array_equal(edges, packed["features"])
        np.testing.assert_array_equal(senders, packed["sender"])
        np.testing.assert_array_equal(receivers, packed["receiver"])


def test_labels_that_were_not_measured_are_0_with_weight_0(folder, train):
    batch = open_batches(folder).batch(0)
    is_graph = np.array([n > 0 for n in batch["inputs"].n_node]).ravel()
    is_graph &= batch["weights"].any(axis=1)
    graphs = pipeline.epoch_order(3_200, 5, 0)[: is_graph.sum()]
    labels = train.labels[graphs]
    np.testing.assert_array_equal(batch["targets"][is_graph], labels == 1)
    np.testing.assert_array_equal(batch["weights"][is_graph], labels != reader.MISSING)
    assert (labels == reader.MISSING).any()
    assert not batch["targets"][~is_graph].any()
    assert not batch["weights"][~is_graph].any()


@pytest.mark.parametrize("split", ["train", "test"])
def test_padding_belongs_to_one_graph_at_the_end_of_each_part(folder, split):
    opened = open_batches(folder, split)
    for index in range(opened.num_batches or 3):
        x = opened.batch(index)["inputs"]
        assert (x.n_node.sum(axis=1) == x.nodes.shape[1]).all()
        assert (x.n_edge.sum(axis=1) == x.edges.shape[1]).all()
        for part in range(PARTS):
            padding = int(np.flatnonzero(x.n_node[part])[-1])
            num_nodes = x.n_node[part, :padding].sum()
            num_edges = x.n_edge[part, :padding].sum()
            assert x.n_node[part, padding] >= 1
            assert not x.nodes[part, num_nodes:].any()
            assert not x.edges[part, num_edges:].any()
            assert (x.senders[part, num_edges:] == num_nodes).all()
            assert (x.receivers[part, num_edges:] == num_nodes).all()
            assert x.senders[part, :num_edges].max(initial=0) < max(num_nodes, 1)


def test_graphs_without_edges_or_nodes_are_laid_out(folder):
    offsets = np.array([0, 2, 2, 3, 5])
    edges = np.zeros(4, reader.EDGE)
    edges["sender"], edges["receiver"] = [0, 1, 0, 1], [1, 0, 1, 0]
    nodes = np.arange(45, dtype=np.uint8).reshape(5, 9)
    labels = np.zeros((4, 128), np.uint8)
    made = reader.Molecules(nodes, edges, labels, offsets, np.array([0, 2, 2, 2, 4]))
    request = pipeline.DataRequest(folder, "test", MINI.splits, 32, 0, MINI.data)
    x = data.GraphBatches(request, made).batch(0)["inputs"]
    np.testing.assert_array_equal(x.nodes[0, :5], nodes)
    assert x.n_node[0].tolist() == [2, 0, 1, 2, 100]
    assert x.n_edge[0].tolist() == [2, 0, 0, 2, 220]
    assert x.senders[0, :5].tolist() == [0, 1, 3, 4, 5]
    assert x.receivers[0, :5].tolist() == [1, 0, 4, 3, 5]


@pytest.mark.parametrize("split", ["eval_train", "validation", "test"])
@pytest.mark.parametrize("batch_size", [128, 800, 813, 32_768])
def test_evaluation_sees_every_graph_once(folder, split, batch_size):
    opened = open_batches(folder, split, batch_size=batch_size)
    batches = [opened.batch(index) for index in range(opened.num_batches)]
    assert len({batch["inputs"].nodes.shape for batch in batches}) == 1
    assert sum(batch["is_graph"].sum() for batch in batches) == 800
    total = sum(batch["weights"].sum() for batch in batches)
    stored = reader.read_split(PreparedData.open(folder, dataset="ogbg"), split)
    chosen = slice(None)
    if split == "eval_train":
        chosen = data.eval_train_graphs(3_200, 800)
    assert total == (stored.labels[chosen] != reader.MISSING).sum()


def test_no_batch_has_more_graphs_than_the_batch_size(folder):
    opened = open_batches(folder, "test", batch_size=30)
    for index in range(opened.num_batches):
        assert opened.batch(index)["is_graph"].sum() <= 30


def test_an_epoch_visits_every_training_graph_once(folder, train):
    opened = open_batches(folder)
    found, index = [], 0
    while len(found) < 3_200:
        found += [len(nodes) for nodes, *_ in graphs_of(opened.batch(index))]
        index += 1
    assert sorted(found[:3_200]) == sorted(train.num_nodes)


def test_a_batch_larger_than_the_data_set_spans_epochs(folder, train):
    batch = open_batches(folder, batch_size=8_192).batch(0)
    found = list(graphs_of(batch))
    assert len(found) > 6_400
    order = pipeline.epoch_order(3_200, 5, 1)
    sizes = [len(nodes) for nodes, *_ in found[3_200:6_400]]
    np.testing.assert_array_equal(sizes, train.num_nodes[order])


def test_a_batch_depends_on_seed_and_index_alone(folder):
    batches, again = open_batches(folder), open_batches(folder)
    for index in (70, 3, 70):
        assert_equal(batches.batch(index), again.batch(index))
    other = open_batches(folder, seed=6).batch(3)
    assert not np.array_equal(other["targets"], batches.batch(3)["targets"])


def test_a_queue_continues_exactly_at_a_saved_position(folder):
    def draw(start, number):
        queue = pipeline.InputQueue(open_batches(folder), dict, start=start)
        drawn = [next(queue)["targets"] for _ in range(number)]
        queue.close()
        return drawn, queue.position

    (whole, _), (_, position) = draw(0, 40), draw(0, 25)
    np.testing.assert_equal(draw(position, 15)[0], whole[25:])


@pytest.mark.parametrize("num_shards", [2, 4, 8])
@pytest.mark.parametrize("split", ["train", "eval_train", "test"])
def test_shards_together_are_the_batch(folder, split, num_shards):
    whole = open_batches(folder, split).batch(2)
    parts = [
        open_batches(folder, split, shard=shard, num_shards=num_shards).batch(2)
        for shard in range(num_shards)
    ]
    assert_equal(joined(parts), whole)


def test_a_number_of_processes_that_does_not_divide_the_parts_is_refused(folder):
    with pytest.raises(BadSettings, match=r"8 equal parts, .* by 3 processes"):
        open_batches(folder, num_shards=3)


def test_eval_train_is_the_same_choice_of_training_graphs_for_every_seed(folder):
    assert_equal(
        open_batches(folder, "eval_train", seed=0).batch(0),
        open_batches(folder, "eval_train", seed=1).batch(0),
    )
    assert len(np.unique(data.eval_train_graphs(3_200, 800))) == 800


def test_data_of_other_splits_are_refused(folder):
    with pytest.raises(BadData, match="the workload needs train 350343"):
        open_batches(folder, splits=DEFINITION.splits)


def test_fifty_evaluations_take_no_more_memory_than_ten(folder):
    def evaluate(times):
        for _ in range(times):
            opened = open_batches(folder, "eval_train", batch_size=256)
            for index in range(opened.num_batches):
                opened.batch(index)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    after_ten = evaluate(10)
    after_fifty = evaluate(40)
    tracemalloc.stop()
    assert after_fifty - after_ten < 100_000


# Metrics


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


def test_average_precision_of_real_labels_is_that_of_scikit_learn(train):
    peer = pytest.importorskip("sklearn.metrics")
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


# Models


def backend(framework):
    pytest.importorskip({"jax": "flax", "pytorch": "torch"}[framework])
    return backends.load(framework)


def bound(definition, framework):
    return Workload(
        definition,
        backend(framework),
        registry.module("workloads", "ogbg", f"model_{framework}"),
        metrics,
        ruleset=rulesets.ruleset("paper"),
        tuning="external",
    )


def leaves(tree, prefix=""):
    if isinstance(tree, dict):
        found = {}
        for key, sub in tree.items():
            found |= leaves(sub, f"{prefix}{key}/")
        return found
    return {prefix.rstrip("/").replace(".", "/"): tree}


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ogbg", 3_554_176),
        ("ogbg_gelu", 3_554_176),
        ("ogbg_silu", 3_554_176),
        ("ogbg_model_size", 2_571_648),
    ],
)
def test_models_have_the_published_number_of_parameters(name, count, framework):
    shapes = leaves(bound(registry.definition(name), framework).param_shapes)
    assert sum(math.prod(shape.shape_tuple) for shape in shapes.values()) == count


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_layers_read_what_the_published_ones_do(framework):
    shapes = leaves(bound(DEFINITION, framework).param_shapes)
    weight = "kernel" if framework == "jax" else "weight"
    inputs = {
        name: shapes[f"{name}/dense_0/{weight}"].shape_tuple
        for name in (
            "edges_0",
            "nodes_0",
            "globals_0",
            "edges_4",
            "nodes_4",
            "globals_4",
        )
    }
    sizes = dict(zip(inputs, (896, 896, 640, 1024, 1024, 768), strict=True))
    for name, shape in inputs.items():
        assert shape == (
            (sizes[name], 256) if framework == "jax" else (256, sizes[name])
        )


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_parameters_have_sensible_types(framework):
    workload = bound(MINI, framework)
    types = leaves(workload.model_params_types)
    weight, scale = ("kernel", "scale") if framework == "jax" else ("weight", "weight")
    kinds = spec.ParameterType
    assert types[f"node_embedding/{weight}"] is kinds.EMBEDDING
    assert types[f"edge_embedding/{weight}"] is kinds.EMBEDDING
    assert types["node_embedding/bias"] is kinds.BIAS
    assert types[f"edges_0/dense_0/{weight}"] is kinds.WEIGHT
    assert types[f"globals_1/norm_0/{scale}"] is kinds.LAYER_NORM_SCALE
    assert types["globals_1/norm_0/bias"] is kinds.LAYER_NORM_BIAS
    assert workload.is_output_params("output")
    assert not workload.is_output_params("globals_1")


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


class ByHand:
    """The network in numpy, one graph at a time, from weights by PyTorch's names."""

    def __init__(self, config, weights):
        self.config = config
        self.weights = weights

    def dense(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def mlp(self, name, *inputs):
        x = np.concatenate(inputs, axis=-1)
        for i in range(len(self.config.hidden)):
            x = self.dense(f"{name}.dense_{i}", x)
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(
                x.var(-1, keepdims=True) + 1e-6
            )
            norm = f"{name}.norm_{i}"
            x = x * self.weights[f"{norm}.weight"] + self.weights[f"{norm}.bias"]
            x = ACTIVATIONS[self.config.activation](x)
        return x

    def logits(self, nodes, edges, senders, receivers):
        graph = np.zeros(self.config.tasks)
        nodes = self.dense("node_embedding", nodes.astype(np.float64))
        edges = self.dense("edge_embedding", edges.astype(np.float64))
        for step in range(self.config.steps):
            edges = np.stack(
                [
                    self.mlp(f"edges_{step}", edge, nodes[s], nodes[r], graph)
                    for edge, s, r in zip(edges, senders, receivers, strict=True)
                ]
            )
            nodes = np.stack(
                [
                    self.mlp(
                        f"nodes_{step}",
                        node,
                        edges[senders == i].sum(axis=0),
                        edges[receivers == i].sum(axis=0),
                        graph,
                    )
                    for i, node in enumerate(nodes)
                ]
            )
            sums = nodes.sum(axis=0), edges.sum(axis=0)
            graph = self.mlp(f"globals_{step}", *sums, graph)
        return self.dense("output", graph)


def random_weights(config):
    """PyTorch's names and shapes, with values that are far from the initial ones."""
    torch = pytest.importorskip("torch")
    from algoperf.workloads.ogbg import model_pytorch

    module = model_pytorch.build(config)
    rng = np.random.default_rng(0)
    shapes = {name: p.shape for name, p in module.named_parameters()}
    weights = {name: rng.normal(0.2, 0.5, shape) for name, shape in shapes.items()}
    module.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
    return module.eval(), weights


@pytest.fixture(scope="module")
def small_batch(folder):
    return open_batches(folder, "test", batch_size=16).batch(3)


def logits_by_hand(config, weights, batch):
    network = ByHand(config, weights)
    return np.stack([network.logits(*graph) for graph in graphs_of(batch)])


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_the_pytorch_model_is_the_network_written_by_hand(activation, small_batch):
    config = dataclasses.replace(TINY, activation=activation)
    module, weights = random_weights(config)
    placed = backend("pytorch").place(small_batch)
    found = module(placed["inputs"]).detach().numpy()[small_batch["is_graph"]]
    expected = logits_by_hand(config, weights, small_batch)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_the_jax_model_is_the_network_written_by_hand(activation, small_batch):
    jax = pytest.importorskip("jax")
    pytest.importorskip("jraph")
    from algoperf.workloads.ogbg import model_jax

    config = dataclasses.replace(TINY, activation=activation)
    _, weights = random_weights(config)
    params: dict = {}
    for name, value in weights.items():
        *path, leaf = name.split(".")
        if leaf == "weight":
            leaf, value = ("kernel", value.T) if value.ndim == 2 else ("scale", value)
        group = params
        for key in path:
            group = group.setdefault(key, {})
        group[leaf] = np.asarray(value, np.float32)
    module = model_jax.build(config)
    call = jax.jit(
        lambda p, x: module.apply({"params": p}, x, train=False, dropout_rate=0.0)
    )
    found = np.asarray(call(params, small_batch["inputs"]))[small_batch["is_graph"]]
    expected = logits_by_hand(config, weights, small_batch)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_label_smoothing_is_the_published_formula(framework):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (5, 128)).astype(np.float32)
    targets = (rng.random((5, 128)) < 0.5).astype(np.float32)
    weights = (rng.random((5, 128)) < 0.7).astype(np.float32)
    placed = backend(framework)
    arrays = [_on_device(placed, a) for a in (targets, logits, weights)]
    found = bound(MINI, framework).loss_fn(*arrays, label_smoothing=0.1)
    y = 0.9 * targets + 0.1 / 128
    expected = np.maximum(logits, 0) - logits * y + np.log1p(np.exp(-np.abs(logits)))
    per_example = np.asarray(found["per_example"])
    np.testing.assert_allclose(per_example, expected * weights, rtol=1e-5, atol=1e-6)
    assert float(found["n_valid_examples"]) == weights.sum()
    assert float(found["summed"]) == pytest.approx((expected * weights).sum(), rel=1e-5)


def _on_device(placed, array):
    if placed.name == "jax":
        return array
    import torch

    return torch.from_numpy(array)


def test_the_output_activation_is_a_sigmoid():
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[0.0, 2.0]])
    found = bound(MINI, "pytorch").output_activation_fn(logits)
    assert torch.equal(found, torch.sigmoid(logits))


def test_pytorch_has_a_deterministic_mode(small_batch):
    torch = pytest.importorskip("torch")
    module, _ = random_weights(TINY)
    inputs = backend("pytorch").place(small_batch)["inputs"]
    plain = module(inputs)
    torch.use_deterministic_algorithms(True)
    try:
        logits = module(inputs)
        logits.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.allclose(logits, plain)


@pytest.mark.slow
def test_the_pytorch_model_compiles_without_a_graph_break(small_batch):
    torch = pytest.importorskip("torch")
    module, _ = random_weights(TINY)
    inputs = backend("pytorch").place(small_batch)["inputs"]
    expected = module(inputs)
    module.compile(fullgraph=True, dynamic=False)
    torch.testing.assert_close(module(inputs), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_the_full_model_starts_with_a_loss_near_that_of_published_logs(
    framework, folder
):
    workload, placed = bound(DEFINITION, framework), backend(framework)
    params, state = workload.init_model_fn(placed.keys(np.array([[1, 2]]))[0])
    opened = open_batches(folder, "validation", batch_size=1_024)
    found = metrics.summarise(
        workload.evaluate_batch(params, state, placed.place(opened.batch(index)))
        for index in range(opened.num_batches)
    )
    # Published logs, after step 1, on the real data: loss 0.7422, accuracy 0.506.
    assert found["loss"] == pytest.approx(0.7422, abs=0.15)
    assert found["accuracy"] == pytest.approx(0.5, abs=0.15)


COLLECTIVES_SCRIPT = """
import re, sys
import jax, numpy as np
from algoperf.jax_backend.sharding import replicate, shard_along_batch_dim
from algoperf.workloads.ogbg import data, model_jax
from algoperf.workloads.ogbg.definition import ModelConfig
from flax.core import meta

config = ModelConfig(latent=8, hidden=(8,), steps=2)
module = model_jax.build(config)
one = model_jax.example_batch(config)["inputs"]
inputs = data.GraphsTuple(*(np.repeat(array, 8, axis=0) for array in one))
call = dict(train=False, dropout_rate=0.0)
params = jax.jit(lambda k: meta.unbox(module.init(k, one, **call)))(jax.random.key(0))
forward = jax.jit(lambda p, x: module.apply(p, x, **call))
text = forward.lower(replicate(params), shard_along_batch_dim(inputs)).compile().as_text()
found = re.findall(r" (all-\\w+|collective-\\w+)(?:-start)?\\(", text)
print(len(jax.devices()), "devices", found)
"""


@pytest.mark.slow
def test_devices_exchange_nothing_in_the_forward_pass():
    pytest.importorskip("jraph")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    command = [sys.executable, "-c", COLLECTIVES_SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "8 devices []", done.stderr[-2000:]
