"""Small prepared molecules, and batches taken apart, for the tests of the ogbg workload."""

import dataclasses

import numpy as np

from algoperf import pipeline, registry
from algoperf.datasets.ogbg import prepare, reader
from algoperf.definition import Split
from algoperf.prepared import Preparation, PreparedData
from algoperf.workloads.ogbg import data

MINI = registry.definition("ogbg_mini")


def prepare_mini(path):
    """The folder of the shipped molecules, prepared within `path`."""
    prepare.expand_embedded(path / "raw")
    with Preparation(
        path / "ogbg_mini", dataset="ogbg", format_version=reader.FORMAT_VERSION
    ) as preparation:
        prepare.prepare(path / "raw", preparation, splits=MINI.splits)
    return path / "ogbg_mini"


def molecules(folder, split: Split):
    """The prepared graphs of a split."""
    return reader.read_split(PreparedData.open(folder, dataset="ogbg"), split)


def open_batches(folder, split: Split = "train", **changes) -> pipeline.Batches:
    request = pipeline.DataRequest(
        folder, split, MINI.splits, batch_size=128, seed=5, config=MINI.data
    )
    return data.open_batches(dataclasses.replace(request, **changes))


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
