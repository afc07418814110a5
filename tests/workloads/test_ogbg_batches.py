"""Batches of the ogbg workload: what is in them, in which order, and who reads it."""

import tracemalloc

import numpy as np
import pytest
from ogbg_graphs import MINI, graphs_of, molecules, open_batches, prepare_mini

from algoperf import pipeline
from algoperf.datasets.ogbg import reader
from algoperf.errors import BadData, BadSettings
from algoperf.workloads.ogbg import data
from algoperf.workloads.ogbg.definition import DEFINITION

PARTS = DEFINITION.data.parts
EVAL_TRAIN = pipeline.epoch_order(3_200, data._EVAL_TRAIN_SEED, 0)[:800]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The shipped molecules, prepared."""
    return prepare_mini(tmp_path_factory.mktemp("ogbg"))


@pytest.fixture(scope="module")
def train(folder):
    return molecules(folder, "train")


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


@pytest.mark.parametrize("split", ["train", "eval_train", "validation", "test"])
def test_a_batch_holds_the_prepared_graphs_in_the_order_of_the_stream(folder, split):
    stored = molecules(folder, split)
    order = {
        "train": pipeline.epoch_order(3_200, 5, 0),
        "eval_train": EVAL_TRAIN,
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
    stored = molecules(folder, split)
    chosen = slice(None)
    if split == "eval_train":
        chosen = EVAL_TRAIN
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
